"""Who is running: the tree that :func:`xctx.debug.tree` makes, and how another process is asked for it.

From the ground up; each file uses only those before it:

gathering.pyx .pyi  one look at threads, contexts, tasks and greenlets, and what units and locks have
page.py             what a page of HTML is made of
nodes.py            what the tree is made of, and how it is written as text, JSON and a page
growing.py          how the tree is made from what was gathered
answering.py        in the process that is asked: a signal handler, and a thread that answers
asking.py           in the process that asks, for ``python -m xctx dump``
"""
