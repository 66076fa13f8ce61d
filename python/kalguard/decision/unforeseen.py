"""Everything that a guard has to catch so that nothing gets past it: exceptions, and panics of the core.

A panic is no `Exception`, so that nobody takes one for an ordinary error by accident. Who catches these either denies
(the pipeline) or goes on with what was in force before (work in the background).
"""

from kalguard._core import PanicException

UNFORESEEN = (Exception, PanicException)
