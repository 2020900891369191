"""What lies under all: the machine, compiling, LLVM IR, threads, scratch memory, files."""
