"""The speed of a method on this machine, the amount that it computes, and the growth of both."""
