/*
 * kernel.h - the system calls themselves, and what older headers lack.
 *
 * Used on both sides of the border: by child.c, which shares its caller's memory and so must not go through
 * libc (whose cached thread id, locks and errno belong to the caller), and by init.c, which has no libc.
 * Every call answers as the kernel does: a result, or minus the errno. All are inline, so that no return
 * address lies where another thread of control could overwrite it.
 */
#ifndef BPM_KERNEL_H
#define BPM_KERNEL_H

#include <asm/unistd.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(__x86_64__)

INLINE long call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/*
 * clone3(2) for a child that has a stack of its own: it calls entry(argument) there and never comes back
 * through this frame, which is what makes sharing memory safe.
 */
INLINE long clone_onto_stack(const void *arguments, size_t size, void (*entry)(void *), void *argument)
{
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov %[argument], %%rdi\n\t"
			 "mov %[entry], %%rax\n\t"
			 "xor %%ebp, %%ebp\n\t" /* which may have held either */
			 "call *%%rax\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(result)
			 : "0"((long)__NR_clone3), "D"(arguments), "S"(size), [entry] "r"(entry), [argument] "r"(argument)
			 : "rcx", "r11", "memory", "cc");
	return result;
}

#elif defined(__aarch64__)

INLINE long call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

INLINE long clone_onto_stack(const void *arguments, size_t size, void (*entry)(void *), void *argument)
{
	register long x8 __asm__("x8") = __NR_clone3;
	register long x0 __asm__("x0") = (long)arguments;
	register long x1 __asm__("x1") = (long)size;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x0, %[argument]\n\t"
			 "mov x8, %[entry]\n\t"
			 "mov x29, #0\n\t" /* which may have held either */
			 "blr x8\n\t"
			 "brk #0\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), [entry] "r"(entry), [argument] "r"(argument)
			 : "memory", "cc", "x30");
	return x0;
}

#else
#error "bpm knows x86_64 and aarch64"
#endif

#define SYSCALL_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define SYSCALL_0(n) call6(n, 0, 0, 0, 0, 0, 0)
#define SYSCALL_1(n, a) call6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYSCALL_2(n, a, b) call6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSCALL_3(n, a, b, c) call6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSCALL_4(n, a, b, c, d) call6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYSCALL_5(n, a, b, c, d, e) call6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYSCALL_6(n, a, b, c, d, e, f) call6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* kernel(openat, AT_FDCWD, "x", 0) is that call, uncached and unwrapped. */
#define kernel(name, ...) \
	SYSCALL_PICK(, ##__VA_ARGS__, SYSCALL_6, SYSCALL_5, SYSCALL_4, SYSCALL_3, SYSCALL_2, SYSCALL_1, SYSCALL_0) \
	(__NR_##name, ##__VA_ARGS__)

/* Since 5.12; the same number on every architecture, like all calls since 5.1. */
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif

/* The kernel's signal set is 64 bits wide; libc's sigset_t is not. */
typedef uint64_t kernel_sigset;
#define ALL_SIGNALS (~(kernel_sigset)0)

INLINE long set_signal_mask(kernel_sigset mask, kernel_sigset *old)
{
	return kernel(rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, old, sizeof mask);
}

#endif
