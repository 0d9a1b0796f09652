// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the service and its clients must agree on besides the XML beside this file: the bus name, where objects live, how a
// name becomes a path, and the C++ types of the structures on the wire. Nothing here talks to a bus.
//
//   /org/archipelago/Archipelago1                Manager, ObjectManager
//   /org/archipelago/Archipelago1/volumes/LABEL  Volume     LABEL: bytes outside [A-Za-z0-9], and a leading digit, as _xx
//   /org/archipelago/Archipelago1/peers/LABEL    Peer       (xx: lower-case hex); an empty name is "_". Reversible.
//   /org/archipelago/Archipelago1/jobs/NUMBER    Job
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <QDBusArgument>
#include <QDBusMetaType>
#include <QDBusObjectPath>
#include <QList>
#include <QMap>
#include <QString>
#include <QVariantMap>

namespace archipelago::dbus {

inline constexpr char kBusName[] = "org.archipelago.Archipelago1";
inline constexpr char kRootPath[] = "/org/archipelago/Archipelago1";
inline constexpr char kVolumesPath[] = "/org/archipelago/Archipelago1/volumes";
inline constexpr char kPeersPath[] = "/org/archipelago/Archipelago1/peers";
inline constexpr char kJobsPath[] = "/org/archipelago/Archipelago1/jobs";

inline constexpr char kManagerInterface[] = "org.archipelago.Archipelago1.Manager";
inline constexpr char kVolumeInterface[] = "org.archipelago.Archipelago1.Volume";
inline constexpr char kPeerInterface[] = "org.archipelago.Archipelago1.Peer";
inline constexpr char kJobInterface[] = "org.archipelago.Archipelago1.Job";
inline constexpr char kPropertiesInterface[] = "org.freedesktop.DBus.Properties";
inline constexpr char kObjectManagerInterface[] = "org.freedesktop.DBus.ObjectManager";

/// In front of ErrorInfo::dbusName.
inline constexpr char kErrorPrefix[] = "org.archipelago.Archipelago1.Error.";
inline constexpr char kAccessDenied[] = "org.freedesktop.DBus.Error.AccessDenied";

/// (ss): name and message of an error; both empty = none.
struct ErrorPair {
	QString name, message;
};
/// (suus): one row of CheckConfig.
struct ProblemRow {
	QString level;
	uint line = 0, column = 0;
	QString message;
};
/// (stttttuat): one class of operations in a row of GetStats.
struct OpRow {
	QString name;
	quint64 ops = 0, bytes = 0, errors = 0, ns = 0, inFlight = 0;
	uint firstBucket = 0;
	QList<quint64> counts;
};
using OpRows = QList<OpRow>;                                ///< a(stttttuat)
using InterfaceMap = QMap<QString, QVariantMap>;            ///< a{sa{sv}}
using ManagedObjects = QMap<QDBusObjectPath, InterfaceMap>; ///< a{oa{sa{sv}}}
using VariantMapList = QList<QVariantMap>;                  ///< aa{sv}
using ProblemList = QList<ProblemRow>;                      ///< a(suus)

inline QDBusArgument &operator<<(QDBusArgument &a, const ErrorPair &e)
{
	a.beginStructure();
	a << e.name << e.message;
	a.endStructure();
	return a;
}
inline const QDBusArgument &operator>>(const QDBusArgument &a, ErrorPair &e)
{
	a.beginStructure();
	a >> e.name >> e.message;
	a.endStructure();
	return a;
}
inline QDBusArgument &operator<<(QDBusArgument &a, const ProblemRow &p)
{
	a.beginStructure();
	a << p.level << p.line << p.column << p.message;
	a.endStructure();
	return a;
}
inline const QDBusArgument &operator>>(const QDBusArgument &a, ProblemRow &p)
{
	a.beginStructure();
	a >> p.level >> p.line >> p.column >> p.message;
	a.endStructure();
	return a;
}
inline QDBusArgument &operator<<(QDBusArgument &a, const OpRow &r)
{
	a.beginStructure();
	a << r.name << r.ops << r.bytes << r.errors << r.ns << r.inFlight << r.firstBucket << r.counts;
	a.endStructure();
	return a;
}
inline const QDBusArgument &operator>>(const QDBusArgument &a, OpRow &r)
{
	a.beginStructure();
	a >> r.name >> r.ops >> r.bytes >> r.errors >> r.ns >> r.inFlight >> r.firstBucket >> r.counts;
	a.endStructure();
	return a;
}
inline bool operator==(const ErrorPair &a, const ErrorPair &b)
{
	return a.name == b.name && a.message == b.message;
}

/// Teaches QtDBus the types above. Once per process, before the first message.
inline void registerBusTypes()
{
	qDBusRegisterMetaType<ErrorPair>();
	qDBusRegisterMetaType<ProblemRow>();
	qDBusRegisterMetaType<ProblemList>();
	qDBusRegisterMetaType<QList<quint64>>();
	qDBusRegisterMetaType<OpRow>();
	qDBusRegisterMetaType<OpRows>();
	qDBusRegisterMetaType<InterfaceMap>();
	qDBusRegisterMetaType<ManagedObjects>();
	qDBusRegisterMetaType<VariantMapList>();
}

/// One path element for any bytes.
inline std::string pathLabel(std::string_view name)
{
	static constexpr char kHex[] = "0123456789abcdef";
	if (name.empty()) return "_";
	std::string out;
	for (size_t i = 0; i < name.size(); i++) {
		const char c = name[i];
		const bool digit = c >= '0' && c <= '9';
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (digit && i > 0)) {
			out += c;
			continue;
		}
		const auto byte = static_cast<unsigned char>(c);
		out += '_';
		out += kHex[byte >> 4];
		out += kHex[byte & 15];
	}
	return out;
}

/// The bytes a label was made from; nothing when pathLabel() cannot have made it.
inline std::optional<std::string> nameFromLabel(std::string_view label)
{
	const auto hex = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
	std::string out;
	if (label != "_") {
		for (size_t i = 0; i < label.size(); i++) {
			if (label[i] != '_') {
				out += label[i];
				continue;
			}
			if (i + 2 >= label.size()) return std::nullopt;
			const int high = hex(label[i + 1]), low = hex(label[i + 2]);
			if (high < 0 || low < 0) return std::nullopt;
			out += static_cast<char>(high * 16 + low);
			i += 2;
		}
	}
	if (pathLabel(out) != label) return std::nullopt;
	return out;
}

inline QString volumePath(const QString &name)
{
	const QByteArray utf8 = name.toUtf8();
	return QString::fromLatin1(kVolumesPath) + QLatin1Char('/')
	       + QString::fromStdString(pathLabel({utf8.constData(), static_cast<size_t>(utf8.size())}));
}
inline QString peerPath(const QString &role)
{
	const QByteArray utf8 = role.toUtf8();
	return QString::fromLatin1(kPeersPath) + QLatin1Char('/')
	       + QString::fromStdString(pathLabel({utf8.constData(), static_cast<size_t>(utf8.size())}));
}

} // namespace archipelago::dbus

Q_DECLARE_METATYPE(archipelago::dbus::ErrorPair)
Q_DECLARE_METATYPE(archipelago::dbus::ProblemRow)
Q_DECLARE_METATYPE(archipelago::dbus::OpRow)
