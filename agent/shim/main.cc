// nestor-shim: the owner of one virtual machine's kernel state.

#include "agent/shim/shim_main.h"

int main(int argc, char** argv) { return nestor::agent::RunShimProgram(argc, argv, nullptr); }
