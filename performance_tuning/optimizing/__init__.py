"""Tuning sweeps: which settings load fastest, how sure that is, and what each choice costs.

Read in this order: ``space`` (what can be set, and which settings mean the same), ``measurements`` (what was
measured), ``effects`` (what that says, the machine's drift taken out), ``racing`` (what is given up, what is
as good as the best), ``proposals`` and ``search`` (what is measured next), ``study_file`` (where it is kept),
``sweep`` (the loop), ``findings`` (what came out), ``terminal`` and ``page`` (how it looks).
"""
