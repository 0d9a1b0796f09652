// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Which shard a volume has, and which ports a shard.
#include "base_test.h"

#include "daemon/base/shards.h"

#include <array>
#include <random>

using namespace archipelago;

class TestShards : public QObject {
	Q_OBJECT

	static VolumeId idOf(uint64_t low)
	{
		VolumeId id;
		for (size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<uint8_t>(low >> (8 * i));
		id.bytes[15] = 0xff; // does not matter
		return id;
	}

private slots:
	void theIdAloneDecides()
	{
		QCOMPARE(shardOf(idOf(0x123456789abcdef0), 1), 0u);
		// Fixed for ever: processes of different builds meet in one segment.
		QCOMPARE(shardOf(idOf(0x123456789abcdef0), 4), 0u);
		QCOMPARE(shardOf(idOf(0x123456789abcdef7), 4), 3u);
		QCOMPARE(shardOf(idOf(1000000007), 10), 7u);
		QCOMPARE(shardOf(VolumeId{}, 16), 0u);
	}

	void randomVolumesSpread()
	{
		std::mt19937_64 dice(7);
		std::array<int, 16> hits{};
		for (int i = 0; i < 16000; ++i) ++hits[shardOf(idOf(dice()), 16)];
		for (const int n : hits) QVERIFY(n > 800 && n < 1200);
	}

	void rangesAreDealtInEqualParts()
	{
		for (const uint32_t count : {1u, 2u, 3u, 16u}) {
			uint32_t next = 500;
			for (uint32_t i = 0; i < count; ++i) {
				const PortSpan part = portsOfShard(500, 999, {i, count});
				QCOMPARE(part.first, next);
				QCOMPARE(part.last - part.first + 1, 500 / count);
				next = part.last + 1;
			}
			QVERIFY(next <= 1000);
		}
	}

	void oneShardIsTheRoleAsItWas()
	{
		RoleConfig role;
		role.type = RoleType::Vlmcd;
		role.portnoStart = 500;
		role.portnoEnd = 999;
		const RoleConfig same = roleOfShard(role, {0, 1});
		QCOMPARE(same.portnoStart, 500u);
		QCOMPARE(same.portnoEnd, 999u);
		QCOMPARE(same.fdcache, role.fdcache);
		QCOMPARE(same.mapCacheBytes, role.mapCacheBytes);
		QCOMPARE(nbdOfShard(NbdConfig{}, {0, 1}).portnoEnd, NbdConfig{}.portnoEnd);
	}

	void rolesOfAShardBelongTogether()
	{
		const Shard shard{3, 4};
		RoleConfig blocker;
		blocker.portnoStart = 1100;
		blocker.portnoEnd = 1103;
		const RoleConfig blocks = roleOfShard(blocker, shard);
		QCOMPARE(blocks.portnoStart, 1103u);
		QCOMPARE(blocks.portnoEnd, 1103u);
		QCOMPARE(blocks.fdcache, 1024u);
		RoleConfig vlmcd;
		vlmcd.type = RoleType::Vlmcd;
		vlmcd.portnoStart = 500;
		vlmcd.portnoEnd = 999;
		vlmcd.blockerPort = 1100;
		const RoleConfig composer = roleOfShard(vlmcd, shard);
		QCOMPARE(composer.blockerPort, blocks.portnoStart);
		QCOMPARE(composer.mapperPort, vlmcd.mapperPort); // by name: shard 0
		QCOMPARE(composer.portnoStart, 875u);
		RoleConfig mapper;
		mapper.type = RoleType::Mapperd;
		mapper.portnoStart = 1201;
		QCOMPARE(roleOfShard(mapper, shard).portnoStart, 1204u);
		QCOMPARE(roleOfShard(mapper, shard).mapCacheBytes, uint64_t{32u << 20});
		QCOMPARE(roleOfShard(mapper, shard).blockerbPort, mapper.blockerbPort); // the mapper finds each volume's itself
	}

	void cachesHaveALeastSize()
	{
		RoleConfig role;
		role.fdcache = 64;
		role.mapCacheBytes = 1u << 20;
		QCOMPARE(roleOfShard(role, {0, 16}).fdcache, 64u);
		QCOMPARE(roleOfShard(role, {0, 16}).mapCacheBytes, uint64_t{1u << 20});
	}
};

QTEST_APPLESS_MAIN(TestShards)
#include "test_shards.moc"
