"""REVIEW: the web console. Nothing is decoded in its process, and no torch is loaded there.

app        the one FastAPI application, put together in one short function
doors/     who may come in: people, roles, sessions, CSRF, headers of every answer
pages/     one file a page: its routes and what it shows
pictures/  pixels for the browser, made in a limited child
watch/     /livez, /readyz, /metrics
templates/ Jinja2, with autoescape on     static/  our CSS and JavaScript; vendor/ is HTMX (0BSD)
"""
