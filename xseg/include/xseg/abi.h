/* SPDX-FileCopyrightText: The Archipelago project */
/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note OR GPL-3.0-or-later */
/*
 * The segment ABI, version 3: everything two processes (or the kernel) must agree on, byte for byte.
 *
 * Plain C, fixed-width integers, natural alignment, little endian, indices instead of pointers. There are no atomic
 * types here: user space wraps the fields in std::atomic_ref, a kernel uses its own barriers on the same fields.
 * Each field says who writes it. A reader copies a field once, checks the copy, and uses the copy.
 *
 *   +--------+-------+---------+----------------------------+--------+----------+-------+------------------------+
 *   | header | ports | waiters | rings: 2 per port (request, | stats  | requests | slabs | data: slabs of 256 KiB |
 *   | 4 KiB  | 256 B | 512 B   | reply), 64-bit slots       | 4992 B | 256 B    | 8 B   |                        |
 *   +--------+-------+---------+----------------------------+--------+----------+-------+------------------------+
 *
 * Region offsets are multiples of 4096 (data: 4 MiB, so that every block is naturally aligned in the file).
 */
#ifndef XSEG_ABI_H
#define XSEG_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
typedef __u64 xs_u64;
typedef __u32 xs_u32;
typedef __u16 xs_u16;
typedef __u8 xs_u8;
typedef __s32 xs_s32;
#else
#include <stdint.h>
typedef uint64_t xs_u64;
typedef uint32_t xs_u32;
typedef uint16_t xs_u16;
typedef uint8_t xs_u8;
typedef int32_t xs_s32;
#endif

#define XS_MAGIC 0x3130304745535841ull /* "AXSEG001" in memory order; stored last, with release */
#define XS_ABI_MAJOR 3
#define XS_ABI_MINOR 0
#define XS_MAX_PORTS 2048
#define XS_MAX_WAITERS 64
#define XS_MAX_HOPS 16
#define XS_RUN_REQUESTS 64        /* requests are claimed in runs of this many */
#define XS_SLAB_SHIFT 18          /* 256 KiB */
#define XS_BLOCK_UNIT 512         /* buffer handles count units of this many bytes from the start of data */
#define XS_MIN_CLASS_SHIFT 9      /* smallest buffer: 512 B */
#define XS_MAX_CLASS_SHIFT 22     /* largest buffer: 4 MiB */
#define XS_NO_BUFFER 0xffffffffu
#define XS_NO_PORT 0xffffu

/* Page 0. Written once by the creator; every opener validates it and keeps a private copy of the geometry. */
struct xs_hdr {
	xs_u64 magic;
	xs_u16 abi_major, abi_minor;
	xs_u32 hdr_size;
	xs_u64 seg_size;                 /* bytes; equals the size of the file behind it */
	xs_u64 feat_compat, feat_incompat, feat_rocompat;
	xs_u8 instance[16];              /* random per creation: tells a stale mapping */
	xs_u32 nr_ports, nr_waiters, nr_reqs, nr_slabs;
	xs_u32 ring_lg2, reserved0;
	xs_u64 off_ports, off_waiters, off_rings, off_stats, off_reqs, off_runs, off_slabs, off_data;
};

/* One per sleeping thread. `bell`: 1 = asleep or about to be; set by the owner, cleared by whoever rings. 2 = told to
 * wake up for no port in particular; set by whoever says so, cleared by the owner. */
struct xs_waiter {
	xs_u32 bell;
	xs_u32 reserved0;
	xs_u64 sleeps, wakes, spin_hits, spin_misses;  /* owner */
	xs_u64 pad[11];
	xs_u64 ready[XS_MAX_PORTS / 64];               /* bit p: port p may have something in a ring; producers set, owner clears */
	xs_u64 pad2[16];
};

enum { XS_PORT_FREE = 0, XS_PORT_BOUND = 1, XS_PORT_RECOVERING = 2 };

struct xs_port {
	/* line 0: owner at bind and unbind, supervisor in recovery */
	xs_u32 state, gen;               /* gen rises at each bind; the low 16 bits go into request paths */
	xs_u32 waiter;                   /* who sleeps for this port */
	xs_u32 max_inflight;             /* own requests out at a time; at most half a ring */
	xs_u32 pid, role;                /* informational */
	xs_u64 start_time;
	xs_u64 owner;                    /* whose it is: 0 = nobody's, else pid:32 | low half of start_time. Claimed by one CAS */
	xs_u64 stats_gen;                /* of its xs_stats: 0 = never used, no memory behind it; odd = label being written; owner */
	xs_u64 pad0[2];
	/* line 1: owner counters */
	xs_u64 submitted, accepted, responded, received, failed, pad1[3];
	xs_u64 pad2[16];
};

/* What went through a port, one record per port. Written by the port's owner thread alone, with relaxed stores; read by
 * anybody, without a lock: copy stats_gen, then the record, then stats_gen again; the copy counts if both are the same and
 * even. Within one generation every number only rises (but for `begun`, see there), so each can be used alone. A port that
 * is bound again for the same subject goes on counting; for another one its record begins anew, with the next generation.
 *
 * Latencies are counted in buckets of nanoseconds: [0] below 2^10 (1 us); then four for each power of two v = 2^e, e = 10..36,
 * [1 + 4 * (e - 10) + k] from v + k * v/4 to v + (k + 1) * v/4; last 2^37 (137 s) and above. The middle of a bucket is
 * within 12.5 % of every value in it. */
#define XS_HIST_MIN_SHIFT 10
#define XS_HIST_MAX_SHIFT 37
#define XS_HIST_BUCKETS (2 + 4 * (XS_HIST_MAX_SHIFT - XS_HIST_MIN_SHIFT))
#define XS_STAT_LABEL 96

enum { XS_STAT_READ = 0, XS_STAT_WRITE = 1, XS_STAT_FLUSH = 2, XS_STAT_TRIM = 3, XS_STAT_EXTENTS = 4, XS_STAT_OTHER = 5, XS_STAT_CLASSES = 6 };

struct xs_stat_class {
	xs_u64 begun;                    /* in flight = begun - ops; at a new bind those of the dead are taken off */
	xs_u64 ops;                      /* ended, errors included */
	xs_u64 bytes;                    /* of those that succeeded */
	xs_u64 errors;
	xs_u64 ns;                       /* time from begin to end, summed */
	xs_u64 pad[5];
	xs_u64 hist[XS_HIST_BUCKETS];
};

struct xs_stats {
	xs_u64 since;                    /* CLOCK_BOOTTIME ns: begin of this generation */
	xs_u32 kind, label_len;          /* kind: what `subject` is, of the layer above; label_len: bytes */
	xs_u8 subject[16];
	xs_u8 label[XS_STAT_LABEL];      /* for people; not terminated */
	xs_u64 pad[16];
	struct xs_stat_class op[XS_STAT_CLASSES];
};

enum { XS_RING_REQUEST = 0, XS_RING_REPLY = 1 };

/* One-CAS bounded MPSC ring. slot = ticket:40 | request:24; ticket = 2*lap empty, 2*lap+1 full. */
struct xs_ring {
	xs_u64 tail;                     /* hint, advanced by any producer */
	xs_u64 pad0[15];
	xs_u64 head;                     /* consumer */
	xs_u64 pad1[15];
	xs_u64 slot[];
};

/* The state word is the truth about a request: tag:24 | state:4 | dir:4 | from:16 | to:16.
 * SENDING: dir = the ring it travels in. OWNED, FENCED: dir = XS_RING_REQUEST while it is as its sender wrote it. */
enum { XS_FREE = 0, XS_OWNED = 1, XS_SENDING = 2, XS_FENCED = 3 };

struct xs_req {
	/* line 0 */
	xs_u64 state;
	xs_u64 seq;                      /* home: rises with each use of this request */
	xs_u16 home, op;                 /* home: fixed when its run is claimed; op: current sender */
	xs_u32 flags;                    /* current sender */
	xs_s32 status;                   /* responder: 0, or minus an error code of the layer above */
	xs_u16 attempts, npath;
	xs_u64 offset, size, serviced;   /* bytes; meaning belongs to op */
	xs_u64 deadline;                 /* CLOCK_BOOTTIME ns, 0 = none */
	/* line 1 */
	xs_u32 data_blk;                 /* buffer handle, XS_NO_BUFFER = none */
	xs_u32 data_off, data_len;       /* part of that buffer this request speaks of, bytes */
	xs_u32 own_blk;                  /* the buffer that home frees with the request (home only) */
	xs_u8 args[48];                  /* typed by op in the layer above */
	/* line 2: reply path; entry first, then npath */
	xs_u32 path[XS_MAX_HOPS];        /* port:16 | gen:16 */
	/* line 3: scratch of the current holder, survives nothing */
	xs_u64 cookie[8];
};

/* A run's owner word: 0 = unclaimed, else tag:32 | port+1:32. Claimed by one CAS. */
struct xs_run { xs_u64 owner; };

/* A slab's owner word: tag:24 | state:4 | class:8 | index in its run of slabs:12 | port:16. Claimed by one CAS.
 * class = log2 of the block size (9..22). A block above 256 KiB takes a run of slabs that starts at a multiple of its
 * own size; its handle is that of the first slab, whose index is 0. */
enum { XS_SLAB_FREE = 0, XS_SLAB_USED = 1, XS_SLAB_ZOMBIE = 2, XS_SLAB_FENCED = 3 };
enum { XS_SLAB_BACKED = 8 }; /* or-ed into the state: memory behind it was allocated once and stays */
struct xs_slab { xs_u64 owner; };

#ifdef __cplusplus
#define XS_ASSERT(c, m) static_assert(c, m)
#elif defined(__KERNEL__)
#define XS_ASSERT(c, m) _Static_assert(c, m)
#else
#define XS_ASSERT(c, m) _Static_assert(c, m)
#endif
XS_ASSERT(sizeof(struct xs_hdr) <= 4096, "header fits a page");
XS_ASSERT(sizeof(struct xs_waiter) == 512, "waiter layout");
XS_ASSERT(sizeof(struct xs_port) == 256, "port layout");
XS_ASSERT(sizeof(struct xs_req) == 256, "request layout");
XS_ASSERT(sizeof(struct xs_ring) == 256, "ring layout");
XS_ASSERT(XS_HIST_BUCKETS == 110, "histogram layout");
XS_ASSERT(sizeof(struct xs_stat_class) == 960 && sizeof(struct xs_stat_class) % 64 == 0, "stats of a class: whole lines");
XS_ASSERT(sizeof(struct xs_stats) == 6016 && sizeof(struct xs_stats) % 128 == 0, "stats layout");

#endif
