//! Memory that is freed and soon wanted again.

/// Has the C library keep freed memory for later allocations of this process, instead of handing it
/// back to the system, as far as that is under control: glibc on Linux. A training step frees what
/// the last one took and takes it again, and each page that comes anew costs a fault: about a
/// twelfth of a step on the processor. The process then holds its peak until it ends.
///
/// For programs, before they train: it concerns the whole process.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;

        // As <malloc.h> has them.
        const TRIM_THRESHOLD: c_int = -1;
        const TOP_PAD: c_int = -2;
        const MMAP_THRESHOLD: c_int = -3;
        /// The most that is allowed, half of the heap of a thread.
        const LARGEST_ON_THE_HEAP: c_int = 32 << 20;

        #[expect(unsafe_code, reason = "a function of the C library")]
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        for (parameter, value) in [
            (MMAP_THRESHOLD, LARGEST_ON_THE_HEAP),
            (TRIM_THRESHOLD, c_int::MAX),
            // A thread's heap stays when all of it is free.
            (TOP_PAD, 2 * LARGEST_ON_THE_HEAP),
        ] {
            #[expect(unsafe_code, reason = "a function of the C library")]
            // SAFETY: it takes two numbers and a lock of its own, and refuses values that it does
            // not know.
            unsafe {
                mallopt(parameter, value);
            }
        }
    }
}
