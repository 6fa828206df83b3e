"""Heads: functions on the vectors of one space, fitted on labelled patients.

`record` is the contract (a card and arrays), `kinds` says which module answers for a head; each kind is a
module of functions on arrays: fit -> FittedHead, apply -> (n, outputs).
"""
