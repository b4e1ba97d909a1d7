"""Limited, killable children: decoder and maker of reports, and this side of them."""
