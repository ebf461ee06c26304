"""What to do when documents are made faster than the target takes them: three strategies, compared.

**block** is the product's way: the queue is bounded, and who puts on a full one waits.  It is measured with a
larger queue, too.  The other two live here alone.  **slow the feed** lets the dispatcher hand out keys the
slower the fuller the queue is.  **spill to disk** keeps the workers going, and puts what the queue does not
hold into a file.

*Drop*, which message brokers and logging libraries offer besides, is not among them.  Every document is to
be committed exactly once, and the sum of what became of them has to hold at the end; a dropped record would
break both, or, if its document stayed pending, would have to be read, parsed and mapped again by another run,
which is to block with the work thrown away.
"""
