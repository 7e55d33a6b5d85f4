/*
 * Compiler attributes and ownership marks: the only place that spells them.
 *
 * owned(x) runs x_cleanup when a local goes out of scope; take(p) empties p and hands its value on, so the
 * path that succeeds says in one word that ownership moved.
 */
#ifndef TRIMTAB_BASE_ATTR_H
#define TRIMTAB_BASE_ATTR_H

#define must_use                __attribute__((warn_unused_result))
#define printf_like(fmt, first) __attribute__((format(printf, fmt, first)))
#define noreturn_fn             __attribute__((noreturn))

/* A local whose x_cleanup(&local) runs at the end of its scope. */
#define owned(x) __attribute__((cleanup(x##_cleanup)))

/* Defines x_cleanup for a pointer type that has x_free or x_unref. */
#define OWNED_BY(name, type, release)                                                          \
    static inline void name##_cleanup(type *p)                                                 \
    {                                                                                          \
        if (*p)                                                                                \
            (void)release(*p); /* the destructor's NULL is of no use here */                   \
    }                                                                                          \
    struct name##_owned_semicolon

#define take(p)                                                                                \
    ({                                                                                         \
        __typeof__(p) take_ = (p);                                                             \
        (p) = NULL;                                                                            \
        take_;                                                                                 \
    })

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))

#define KIB                             ((size_t)1024)
#define MIB                             (1024 * KIB)

#endif
