"""Pixel Data to stored values: native and every transfer syntax of CR and DX (PS3.5 section 8, Annex A).

The one decoder, for the gates and for what is sent; `frames` is its door. Never a guess: sizes in the header,
in the codestream and of the data must agree, and a codestream says its size before anything is decoded.

    syntaxes   which transfer syntax is coded how     layout     the Image Pixel attributes, stored values
    native     values as they stand                   fragments  encapsulated ones, by frame
    jpeg, jpeg2000, jpegxl, rle: one codec each, on what `codestream` has for all of them
"""
