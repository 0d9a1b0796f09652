// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Back-off: three times at once, so that a client sees a short pause also when somebody kills hosts in a row; then 0.1, 0.2,
// 0.5, 1, 2, 5, 10, 30, 30 ... seconds, so that a host that cannot live takes up neither processor nor log. What a host dies of
// by itself, it dies of soon: its clients send again at once what had no answer. So one that was up for a while is as good as new.
#include "dbus/service/restarts.h"

#include <algorithm>
#include <array>

namespace archipelago::service {

namespace {

constexpr std::array kDelaysMs = {0, 0, 0, 100, 200, 500, 1'000, 2'000, 5'000, 10'000, 30'000};
constexpr qint64 kAsGoodAsNewMs = 200;

} // namespace

int Restarts::ended(const QString &host)
{
	auto &entry = m_hosts[host];
	if (!entry) {
		entry = std::make_unique<Host>();
		entry->timer.setSingleShot(true);
		entry->timer.setTimerType(Qt::PreciseTimer); // a coarse one may show more than was asked for
		QObject::connect(&entry->timer, &QTimer::timeout, &entry->timer, [this, h = entry.get()] {
			h->due = true;
			m_due();
		});
	} else if (entry->upSince.isValid() && entry->upSince.elapsed() >= kAsGoodAsNewMs)
		entry->tries = 0;
	else
		entry->tries++;
	entry->upSince.invalidate();
	entry->due = false;
	const int wait = kDelaysMs[std::min(static_cast<size_t>(entry->tries), kDelaysMs.size() - 1)];
	entry->timer.start(wait);
	return wait;
}

void Restarts::up(const QString &host)
{
	const auto found = m_hosts.find(host);
	if (found == m_hosts.end()) return;
	found->second->timer.stop();
	found->second->due = false;
	found->second->upSince.start();
}

QString Restarts::take()
{
	const auto found = std::ranges::find_if(m_hosts, [](const auto &entry) { return entry.second->due; });
	if (found == m_hosts.end()) return {};
	found->second->due = false;
	return found->first;
}

int Restarts::tries(const QString &host) const
{
	const auto found = m_hosts.find(host);
	return found == m_hosts.end() ? 0 : found->second->tries;
}

int Restarts::secondsLeft(const QString &host) const
{
	const auto found = m_hosts.find(host);
	const int ms = found == m_hosts.end() ? 0 : std::max(found->second->timer.remainingTime(), 0);
	return (ms + 999) / 1000;
}

} // namespace archipelago::service
