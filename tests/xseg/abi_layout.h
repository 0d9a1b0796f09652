/* SPDX-FileCopyrightText: The Archipelago project */
/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every size and every offset of the segment ABI as one list, to be evaluated by both compilers.
 */
#ifndef ABI_LAYOUT_H
#define ABI_LAYOUT_H

#define ABI_AT(type, field) (xs_u64) offsetof(struct type, field)
#define ABI_LAYOUT                                                                                                     \
	(xs_u64)sizeof(struct xs_hdr), ABI_AT(xs_hdr, magic), ABI_AT(xs_hdr, abi_major), ABI_AT(xs_hdr, abi_minor),        \
		ABI_AT(xs_hdr, hdr_size), ABI_AT(xs_hdr, seg_size), ABI_AT(xs_hdr, feat_compat),                               \
		ABI_AT(xs_hdr, feat_incompat), ABI_AT(xs_hdr, feat_rocompat), ABI_AT(xs_hdr, instance),                        \
		ABI_AT(xs_hdr, nr_ports), ABI_AT(xs_hdr, nr_waiters), ABI_AT(xs_hdr, nr_reqs), ABI_AT(xs_hdr, nr_slabs),       \
		ABI_AT(xs_hdr, ring_lg2), ABI_AT(xs_hdr, reserved0), ABI_AT(xs_hdr, off_ports), ABI_AT(xs_hdr, off_waiters),   \
		ABI_AT(xs_hdr, off_rings), ABI_AT(xs_hdr, off_stats), ABI_AT(xs_hdr, off_reqs), ABI_AT(xs_hdr, off_runs), ABI_AT(xs_hdr, off_slabs),      \
		ABI_AT(xs_hdr, off_data), (xs_u64)sizeof(struct xs_waiter), ABI_AT(xs_waiter, bell),                           \
		ABI_AT(xs_waiter, sleeps), ABI_AT(xs_waiter, ready), (xs_u64)sizeof(struct xs_port), ABI_AT(xs_port, state),   \
		ABI_AT(xs_port, gen), ABI_AT(xs_port, waiter), ABI_AT(xs_port, max_inflight), ABI_AT(xs_port, pid),            \
		ABI_AT(xs_port, role), ABI_AT(xs_port, start_time), ABI_AT(xs_port, owner),           \
		ABI_AT(xs_port, stats_gen), ABI_AT(xs_port, submitted),        \
		ABI_AT(xs_port, failed),                                                                                       \
		(xs_u64)sizeof(struct xs_ring), ABI_AT(xs_ring, tail), ABI_AT(xs_ring, head),                                  \
		(xs_u64)sizeof(struct xs_req), ABI_AT(xs_req, state), ABI_AT(xs_req, seq), ABI_AT(xs_req, home),               \
		ABI_AT(xs_req, op), ABI_AT(xs_req, flags), ABI_AT(xs_req, status), ABI_AT(xs_req, attempts),                   \
		ABI_AT(xs_req, npath), ABI_AT(xs_req, offset), ABI_AT(xs_req, size), ABI_AT(xs_req, serviced),                 \
		ABI_AT(xs_req, deadline), ABI_AT(xs_req, data_blk), ABI_AT(xs_req, data_off), ABI_AT(xs_req, data_len),        \
		ABI_AT(xs_req, own_blk), ABI_AT(xs_req, args), ABI_AT(xs_req, path), ABI_AT(xs_req, cookie),                   \
		(xs_u64)sizeof(struct xs_stats), ABI_AT(xs_stats, since), ABI_AT(xs_stats, kind), ABI_AT(xs_stats, label_len),     \
		ABI_AT(xs_stats, subject), ABI_AT(xs_stats, label), ABI_AT(xs_stats, op),                                      \
		(xs_u64)sizeof(struct xs_stat_class), ABI_AT(xs_stat_class, begun), ABI_AT(xs_stat_class, ops),                \
		ABI_AT(xs_stat_class, bytes), ABI_AT(xs_stat_class, errors), ABI_AT(xs_stat_class, ns),                        \
		ABI_AT(xs_stat_class, hist), XS_HIST_BUCKETS, XS_STAT_CLASSES,                                                 \
		(xs_u64)sizeof(struct xs_run), (xs_u64)sizeof(struct xs_slab), XS_MAGIC, XS_MAX_HOPS, XS_MAX_PORTS

#endif
