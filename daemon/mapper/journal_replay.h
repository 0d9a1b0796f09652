// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reading the journal that an earlier owner of a volume left behind: which of its records count.
//
//   the segments' boot id is this boot's    all that are whole: the page cache that held unsynced data is still this one
//   another boot                            those up to the last COMMIT's upto: the rest may be here without its data
//                                                                                                    [trust-uncommitted]
// Of these, the ones the chunks do not have yet (sequence > applied). A torn tail is the end of a journal. What is whole but
// contradicts the header or itself is refused: half of a map would be served as if it were all of it.
#pragma once

#include "daemon/mapper/journal_format.h"
#include "daemon/mapper/object_client.h"

namespace archipelago::mapper {

struct Replay {
	std::vector<MapChange> changes;  ///< to be applied in this order; blocks inside the volume
	std::vector<ObjectId> segments;    ///< every journal object of the volume, of this journal or an older one
};

/// Reads the journal that `header` names (there is one). E-MISSING (a segment is gone), E-CORRUPT, E-UNSUPPORTED.
runtime::Task<Result<Replay>> readJournal(ObjectClient &blockerm, const Header &header, const BootId &bootId);

} // namespace archipelago::mapper
