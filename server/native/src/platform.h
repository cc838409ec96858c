/* Refuses machines on which the arithmetic contract doesn't hold. */
#ifndef UNROLLED_PLATFORM_H
#define UNROLLED_PLATFORM_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "unrolled-core needs a little-endian machine: replies are little-endian float32"
#endif
#if UINTPTR_MAX < UINT64_MAX
#error "unrolled-core needs a 64-bit machine: 32-bit x86 rounds in x87 registers and 32-bit NEON flushes denormals"
#endif
#ifdef __FAST_MATH__
#error "unrolled-core must not be compiled with -ffast-math: replies would have other bits"
#endif

#endif
