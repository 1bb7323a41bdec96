"""What `dptt report`, `dptt watch` and `dptt compare` show of a run folder. It only reads, and locks nothing.

latest.py      configuration and volume as they are at the moment, also of a running job
content.py     fills the content of the page; patterns.py its data, next_steps.py its proposals
live.py        the state of a running job, and the server that a browser asks for it
comparison.py  several runs on one page
"""
