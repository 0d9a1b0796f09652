// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Dictionaries to values, and D-Bus errors to ours. Nothing here fails: what is missing or of another type is the default.
#include "dbus/client/values.h"

#include <cstring>

#include <QDBusError>
#include <QDBusMessage>

namespace archipelago::dbus {

namespace {

template <typename T> T field(const QVariantMap &map, const char *key)
{
	// Structures arrive as QDBusArgument inside a variant; qdbus_cast takes both.
	return qdbus_cast<T>(map.value(QLatin1String(key)));
}

/// D-Bus errors that are not ours, by what they mean to an operator.
struct Foreign {
	QDBusError::ErrorType type;
	ErrorCode code;
	const char *hint; ///< behind the bus's own words
};
constexpr Foreign kForeign[] = {
	{QDBusError::AccessDenied, ErrorCode::Denied, ""},
	{QDBusError::UnknownObject, ErrorCode::NotFound, ""},
	{QDBusError::NoReply, ErrorCode::Timeout,
	 " The service did not answer in time; what was asked may still be carried out. Look: archipelago status"},
	{QDBusError::Timeout, ErrorCode::Timeout, " The service did not answer in time. Look: archipelago status"},
	{QDBusError::TimedOut, ErrorCode::Timeout, " The service did not answer in time. Look: archipelago status"},
	{QDBusError::LimitsExceeded, ErrorCode::Limit, ""},
	{QDBusError::UnknownMethod, ErrorCode::Unsupported, " The running service is of another version: restart archipelagod."},
	{QDBusError::UnknownInterface, ErrorCode::Unsupported, " The running service is of another version: restart archipelagod."},
	{QDBusError::UnknownProperty, ErrorCode::Unsupported, " The running service is of another version: restart archipelagod."},
	{QDBusError::InvalidArgs, ErrorCode::Invalid, ""},
	{QDBusError::InvalidSignature, ErrorCode::Invalid, ""},
	{QDBusError::ServiceUnknown, ErrorCode::Peer, ""},
	{QDBusError::Disconnected, ErrorCode::Peer, ""},
	{QDBusError::NoServer, ErrorCode::Peer, ""},
	{QDBusError::NoNetwork, ErrorCode::Peer, ""},
};

std::optional<Error> errorField(const QVariantMap &map)
{
	const auto pair = field<ErrorPair>(map, "Error");
	if (pair.name.isEmpty()) return std::nullopt;
	return errorFromBus(pair.name, pair.message);
}

} // namespace

Error errorFromBus(const QString &name, const QString &message)
{
	const std::string text = message.toStdString();
	if (name.startsWith(QLatin1String(kErrorPrefix))) {
		const std::string last = name.mid(static_cast<qsizetype>(std::strlen(kErrorPrefix))).toStdString();
		return {errorFromDBusName(last).value_or(ErrorCode::Failed), text};
	}
	if (name == QLatin1String("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")) return {ErrorCode::Denied, text};
	const QDBusError::ErrorType type = QDBusError(QDBusMessage::createError(name, message)).type();
	// The bus says NoReply both for silence and for a service that died over the call; only its words differ.
	if (type == QDBusError::NoReply && message.contains(QLatin1String("disconnected from message bus")))
		return {ErrorCode::Peer, "The service ended while it worked on this; whether it was carried out is shown by: archipelago status"};
	for (const Foreign &foreign : kForeign)
		if (foreign.type == type) return {foreign.code, text + foreign.hint};
	return {ErrorCode::Failed, (text.empty() ? "The bus says: " + name.toStdString() : text)};
}

ManagerInfo ManagerInfo::fromMap(const QVariantMap &map)
{
	ManagerInfo out;
	out.version = field<QString>(map, "Version");
	out.capabilities = field<QStringList>(map, "Capabilities");
	out.state = field<QString>(map, "State");
	out.verdict = field<QString>(map, "Verdict");
	out.configPath = field<QString>(map, "ConfigPath");
	out.nbdSocket = field<QString>(map, "NbdSocket");
	return out;
}

PeerInfo PeerInfo::fromMap(const QVariantMap &map)
{
	PeerInfo out;
	out.name = field<QString>(map, "Name");
	out.role = field<QString>(map, "Role");
	out.host = field<QString>(map, "Host");
	out.ports = field<QString>(map, "Ports");
	out.state = field<QString>(map, "State");
	out.pid = field<uint>(map, "Pid");
	out.sinceUs = field<quint64>(map, "Since");
	out.requestsInFlight = field<uint>(map, "RequestsInFlight");
	const auto error = field<ErrorPair>(map, "LastError");
	out.lastErrorSymbol = error.name;
	out.lastErrorMessage = error.message;
	return out;
}

VolumeInfo VolumeInfo::fromMap(const QVariantMap &map)
{
	VolumeInfo out;
	out.name = field<QString>(map, "Name");
	out.id = field<QString>(map, "Id");
	out.kind = field<QString>(map, "Kind");
	out.sizeBytes = field<quint64>(map, "Size");
	out.allocatedBytes = field<quint64>(map, "AllocatedSize");
	out.createdUs = field<quint64>(map, "Created");
	out.opened = field<bool>(map, "Opened");
	out.clients = field<uint>(map, "Clients");
	out.nbdUri = field<QString>(map, "NbdUri");
	const auto stopped = field<ErrorPair>(map, "Stopped");
	out.stoppedSymbol = stopped.name;
	out.stoppedText = stopped.message;
	out.error = errorField(map);
	return out;
}

uint JobInfo::number() const
{
	return path.section(QLatin1Char('/'), -1).toUInt();
}

JobInfo JobInfo::fromMap(const QString &path, const QVariantMap &map)
{
	JobInfo out;
	out.path = path;
	out.operation = field<QString>(map, "Operation");
	out.state = field<QString>(map, "State");
	out.progress = field<double>(map, "Progress");
	out.progressValid = field<bool>(map, "ProgressValid");
	out.message = field<QString>(map, "Message");
	out.startTimeUs = field<quint64>(map, "StartTime");
	out.startedByUid = field<uint>(map, "StartedByUID");
	out.cancelable = field<bool>(map, "Cancelable");
	out.result = field<QVariantMap>(map, "Result");
	out.error = errorField(map);
	return out;
}

} // namespace archipelago::dbus
