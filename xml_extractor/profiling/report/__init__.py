"""Pages with figures and plots: one HTML file each, self-contained, without network.

``load_page`` makes the page of ``--report``.  For programs with results of their own: ``blocks`` holds what a
page is made of, ``page`` turns it into HTML and writes it, ``plots`` and ``heat_map`` draw.  matplotlib and
Jinja2 are imported by ``page`` and by what draws, and nobody imports those but to make a page.
"""
