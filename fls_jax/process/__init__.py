"""The process itself: allocator, interruption, display, timing."""
