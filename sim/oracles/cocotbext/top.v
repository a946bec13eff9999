`timescale 1ns / 1ps

// Nothing is in it: cocotb needs a simulation to run in, and cocotbext-pcie's devices are all Python.
module top;
endmodule
