"""Names that go to other machines: which names, what they are called there, and how their values are written.

From the ground up; each file uses only those before it:

report.py        reports to the log or to the program what had to be dropped from a header
baggage.py       the W3C Baggage header: its members, read and written
carried.py       the mark of a name that an xlocal carries
annotations.py   what the annotations of a class say of carrying
forms.py         how values of a type are written as data of JSON, and made of such data; checked both ways
records.py       the same of types with named fields: TypedDicts and dataclasses
libraries.py     the same of types that only msgspec or pydantic know
form_of.py       chooses the form of an annotation
fields.py        what each xlocal carries
declarations.py  looks through each class and xlocal, as it is made, for what it carries
values.py        a carried value as text, and the value of a text that came from outside
headers.py       the ``baggage`` headers in what programs use for headers: mappings, lists of pairs
passing.py       members of others that came in, which go on to the next service
outgoing.py      what goes into the header of an outgoing request or message
incoming.py      what is in the headers of an incoming one
request_id.py    the id of a request: taken from outside, or made, and answered with
intake.py        what the middleware of servers is told to take from a request
request.py       a request that a server answers: its unit of work, and the names that arrived with it
"""
