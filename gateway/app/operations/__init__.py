"""What an operator can do to a house: every change is an entry first and in force after.

`table.OPERATIONS` names them all, `administration.Administration` carries them out one at a time,
`reading.read_house` shows the same house from outside, without owning it.
"""
