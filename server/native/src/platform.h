/* The machines that the core supports. */
#ifndef UR_PLATFORM_H
#define UR_PLATFORM_H

#include <float.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "unrolled-core needs a little-endian machine"
#endif
#if UINTPTR_MAX < UINT64_MAX
#error "unrolled-core needs a 64-bit machine"
#endif
#if defined(__FAST_MATH__)
#error "unrolled-core must be compiled without -ffast-math, which changes its results"
#endif
_Static_assert(CHAR_BIT == 8 && sizeof(size_t) == 8, "unrolled-core needs a 64-bit machine");
_Static_assert(sizeof(float) == 4 && FLT_MANT_DIG == 24 && FLT_EVAL_METHOD == 0,
               "unrolled-core needs IEEE-754 single precision without excess precision");

#endif
