"""How fast a method is on this machine, how much it computes, and how both grow."""
