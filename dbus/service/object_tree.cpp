// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Signals are sent as messages, in the order of the calls that cause them: a client sees the PropertiesChanged of a job's end
// before its Completed, and the reply of a method after the signals it caused.
#include "dbus/service/object_tree.h"

#include <QDBusMetaType>
#include <QSet>

namespace archipelago::service {

using dbus::InterfaceMap;
using dbus::ManagedObjects;

namespace {

constexpr char kUnknownObject[] = "org.freedesktop.DBus.Error.UnknownObject";
constexpr char kUnknownMethod[] = "org.freedesktop.DBus.Error.UnknownMethod";
constexpr char kUnknownInterface[] = "org.freedesktop.DBus.Error.UnknownInterface";
constexpr char kUnknownProperty[] = "org.freedesktop.DBus.Error.UnknownProperty";
constexpr char kInvalidArgs[] = "org.freedesktop.DBus.Error.InvalidArgs";
constexpr char kPropertyReadOnly[] = "org.freedesktop.DBus.Error.PropertyReadOnly";

constexpr char kObjectManagerXml[] = R"(  <interface name="org.freedesktop.DBus.ObjectManager">
    <method name="GetManagedObjects"><arg name="objects" type="a{oa{sa{sv}}}" direction="out"/></method>
    <signal name="InterfacesAdded"><arg name="object" type="o"/><arg name="interfaces" type="a{sa{sv}}"/></signal>
    <signal name="InterfacesRemoved"><arg name="object" type="o"/><arg name="interfaces" type="as"/></signal>
  </interface>
)";

QString signatureOf(const QVariant &value)
{
	return QLatin1String(QDBusMetaType::typeToSignature(value.metaType()));
}

/// Every value that leaves is of the type the XML promises.
void checkValue(const InterfaceDescription &description, const QString &name, const QVariant &value)
{
	const auto property = description.properties.find(name);
	ARCHIPELAGO_ASSERT(property != description.properties.end());
	ARCHIPELAGO_ASSERT(signatureOf(value) == property->signature);
}

} // namespace

// ---- MethodCall

MethodCall::MethodCall(const QDBusConnection &bus, const QDBusMessage &message) : m_state(std::make_shared<State>(bus, message))
{
	message.setDelayedReply(true);
}

MethodCall::State::~State()
{
	if (!answered) bus.send(message.createErrorReply(busErrorName(ErrorCode::Failed), QStringLiteral("The service gave up on this call.")));
}

void MethodCall::reply(const QVariantList &values) const
{
	if (std::exchange(m_state->answered, true)) return;
	m_state->bus.send(m_state->message.createReply(values));
}

void MethodCall::fail(const Error &error) const
{
	fail(busErrorName(error.code), QString::fromStdString(error.message));
}

void MethodCall::fail(const QString &name, const QString &message) const
{
	if (std::exchange(m_state->answered, true)) return;
	m_state->bus.send(m_state->message.createErrorReply(name, message));
}

QString busErrorName(ErrorCode code)
{
	const std::string_view name = errorInfo(code).dbusName;
	if (name.empty()) return QLatin1String(dbus::kAccessDenied);
	return QLatin1String(dbus::kErrorPrefix) + QString::fromUtf8(name.data(), static_cast<qsizetype>(name.size()));
}

Result<QVariantMap> checkOptions(const QVariantMap &options, std::initializer_list<OptionSpec> known)
{
	for (auto option = options.begin(); option != options.end(); ++option) {
		const auto spec = std::find_if(known.begin(), known.end(), [&](const OptionSpec &s) { return option.key() == QLatin1String(s.name); });
		if (spec == known.end()) {
			std::string names;
			for (const OptionSpec &s : known) names += (names.empty() ? "" : ", ") + std::string(s.name);
			return failure(ErrorCode::Invalid, "Unknown option \"" + option.key().toStdString() + "\". "
			                                       + (names.empty() ? "This method takes none." : "Known: " + names + "."));
		}
		if (signatureOf(*option) != QLatin1String(spec->signature)) {
			return failure(ErrorCode::Invalid, std::string("Option \"") + spec->name + "\" must be of the D-Bus type "
			                                       + spec->signature + ".");
		}
	}
	return options;
}

// ---- ExportedObject

ExportedObject::ExportedObject(ObjectTree &tree, const QString &path, const char *interface, const QVariantMap &properties) :
    m_tree(tree), m_path(path), m_description(InterfaceDescription::of(interface)), m_properties(properties)
{
	ARCHIPELAGO_ASSERT(m_properties.keys() == m_description.properties.keys());
	for (auto it = m_properties.begin(); it != m_properties.end(); ++it) checkValue(m_description, it.key(), *it);
	m_tree.add(*this);
}

ExportedObject::~ExportedObject()
{
	m_tree.remove(*this);
}

void ExportedObject::update(const QVariantMap &changes)
{
	QVariantMap announced;
	for (auto it = changes.begin(); it != changes.end(); ++it) {
		checkValue(m_description, it.key(), *it);
		if (m_properties.value(it.key()) == *it) continue;
		m_properties.insert(it.key(), *it);
		const InterfaceDescription::Property &property = *m_description.properties.find(it.key());
		ARCHIPELAGO_ASSERT(!property.constant);
		if (property.announced) announced.insert(it.key(), *it);
	}
	if (announced.isEmpty()) return;
	m_tree.emitSignal(m_path, dbus::kPropertiesInterface, QStringLiteral("PropertiesChanged"),
	                  {m_description.name, announced, QStringList()});
}

void ExportedObject::emitSignal(const char *member, const QVariantList &arguments)
{
	const QString name = QLatin1String(member);
	QString signature;
	for (const QVariant &argument : arguments) signature += signatureOf(argument);
	ARCHIPELAGO_ASSERT(m_description.signalSignatures.value(name) == signature && m_description.signalSignatures.contains(name));
	m_tree.emitSignal(m_path, qPrintable(m_description.name), name, arguments);
}

// ---- ObjectTree

ObjectTree::ObjectTree(const QDBusConnection &bus) : m_bus(bus) {}

ObjectTree::~ObjectTree()
{
	m_bus.unregisterObject(QLatin1String(dbus::kRootPath), QDBusConnection::UnregisterTree);
}

bool ObjectTree::publish()
{
	return m_bus.registerVirtualObject(QLatin1String(dbus::kRootPath), this, QDBusConnection::SubPath);
}

ExportedObject *ObjectTree::find(const QString &path) const
{
	const auto found = m_objects.find(path);
	return found == m_objects.end() ? nullptr : found->second;
}

void ObjectTree::emitSignal(const QString &path, const char *interface, const QString &member, const QVariantList &arguments)
{
	QDBusMessage message = QDBusMessage::createSignal(path, QLatin1String(interface), member);
	message.setArguments(arguments);
	m_bus.send(message);
}

void ObjectTree::add(ExportedObject &object)
{
	const bool fresh = m_objects.emplace(object.path(), &object).second;
	ARCHIPELAGO_ASSERT(fresh);
	if (object.path() == QLatin1String(dbus::kRootPath)) return; // the manager of objects is not one of them
	const InterfaceMap interfaces{{object.description().name, object.properties()}};
	emitSignal(QLatin1String(dbus::kRootPath), dbus::kObjectManagerInterface, QStringLiteral("InterfacesAdded"),
	           {QVariant::fromValue(QDBusObjectPath(object.path())), QVariant::fromValue(interfaces)});
}

void ObjectTree::remove(ExportedObject &object)
{
	m_objects.erase(object.path());
	if (object.path() == QLatin1String(dbus::kRootPath)) return;
	emitSignal(QLatin1String(dbus::kRootPath), dbus::kObjectManagerInterface, QStringLiteral("InterfacesRemoved"),
	           {QVariant::fromValue(QDBusObjectPath(object.path())), QStringList{object.description().name}});
}

QString ObjectTree::introspect(const QString &path) const
{
	QString xml;
	if (const ExportedObject *object = find(path)) xml += object->description().xml;
	if (path == QLatin1String(dbus::kRootPath)) xml += QLatin1String(kObjectManagerXml);
	QSet<QString> children;
	const QString prefix = path + QLatin1Char('/');
	for (auto it = m_objects.lower_bound(prefix); it != m_objects.end() && it->first.startsWith(prefix); ++it)
		children.insert(it->first.mid(prefix.size()).section(QLatin1Char('/'), 0, 0));
	QStringList names(children.begin(), children.end());
	names.sort();
	for (const QString &name : names) xml += QLatin1String("  <node name=\"") + name + QLatin1String("\"/>\n");
	return xml;
}

bool ObjectTree::handleMessage(const QDBusMessage &message, const QDBusConnection &connection)
{
	if (message.type() != QDBusMessage::MethodCallMessage) return false;
	const QString interface = message.interface();
	// QtDBus answers these, the first with the help of introspect().
	if (interface == QLatin1String("org.freedesktop.DBus.Introspectable") || interface == QLatin1String("org.freedesktop.DBus.Peer"))
		return false;
	// A call may leave its interface out; no method of ours has the name of a standard one.
	const bool unnamed = interface.isEmpty();
	const QString member = message.member();
	if (unnamed && (member == QLatin1String("Introspect") || member == QLatin1String("Ping") || member == QLatin1String("GetMachineId")))
		return false;

	const MethodCall call(connection, message);
	ExportedObject *object = find(message.path());
	const bool properties = interface == QLatin1String(dbus::kPropertiesInterface)
	                        || (unnamed && (member == QLatin1String("Get") || member == QLatin1String("GetAll") || member == QLatin1String("Set")));
	if (properties)
		handleProperties(call, message, object);
	else if (message.path() == QLatin1String(dbus::kRootPath) && member == QLatin1String("GetManagedObjects")
	         && (unnamed || interface == QLatin1String(dbus::kObjectManagerInterface)))
		replyManagedObjects(call);
	else
		handleOwn(call, message, object);
	return true;
}

void ObjectTree::handleProperties(const MethodCall &call, const QDBusMessage &message, const ExportedObject *object) const
{
	const auto refuse = [&call](const char *name, const QString &text) { call.fail(QLatin1String(name), text); };
	if (!object) return refuse(kUnknownObject, QStringLiteral("There is no object %1.").arg(message.path()));
	const QString member = message.member(), signature = message.signature();
	if (member == QLatin1String("Set")) return refuse(kPropertyReadOnly, QStringLiteral("Properties are read-only: use the methods."));
	const bool all = member == QLatin1String("GetAll");
	if (!all && member != QLatin1String("Get")) return refuse(kUnknownMethod, QStringLiteral("No method %1 in Properties.").arg(member));
	if (signature != QLatin1String(all ? "s" : "ss")) return refuse(kInvalidArgs, QStringLiteral("%1 takes (%2).").arg(member, QLatin1String(all ? "s" : "ss")));

	const QString interface = message.arguments().at(0).toString();
	// An empty interface means: whatever there is. GetAll of a standard interface is legal and empty.
	const bool ours = interface.isEmpty() || interface == object->description().name;
	if (all && !ours && interface.startsWith(QLatin1String("org.freedesktop.DBus."))) return call.reply({QVariantMap()});
	if (!ours) return refuse(kUnknownInterface, QStringLiteral("%1 has no interface %2.").arg(message.path(), interface));
	if (all) return call.reply({object->properties()});
	const QString name = message.arguments().at(1).toString();
	if (!object->properties().contains(name)) return refuse(kUnknownProperty, QStringLiteral("No property %1 in %2.").arg(name, object->description().name));
	call.reply({QVariant::fromValue(QDBusVariant(object->properties().value(name)))});
}

void ObjectTree::handleOwn(const MethodCall &call, const QDBusMessage &message, ExportedObject *object) const
{
	const QString interface = message.interface(), member = message.member();
	const qsizetype slash = message.path().lastIndexOf(QLatin1Char('/'));
	const bool volume = message.path().left(slash) == QLatin1String(dbus::kVolumesPath);
	if (!object && !(volume && m_volumeFallback)) return call.fail(QLatin1String(kUnknownObject), QStringLiteral("There is no object %1.").arg(message.path()));

	const InterfaceDescription &description = object ? object->description() : InterfaceDescription::of(dbus::kVolumeInterface);
	if (!interface.isEmpty() && interface != description.name)
		return call.fail(QLatin1String(kUnknownInterface), QStringLiteral("%1 has no interface %2.").arg(message.path(), interface));
	const auto method = description.methods.find(member);
	if (method == description.methods.end())
		return call.fail(QLatin1String(kUnknownMethod), QStringLiteral("No method %1 in %2.").arg(member, description.name));
	if (message.signature() != method->in) {
		return call.fail(QLatin1String(kInvalidArgs), QStringLiteral("%1 takes (%2), not (%3).").arg(member, method->in, message.signature()));
	}
	if (object)
		object->called(call);
	else
		m_volumeFallback(call);
}

void ObjectTree::replyManagedObjects(const MethodCall &call) const
{
	ManagedObjects out;
	for (const auto &[path, object] : m_objects) {
		if (path == QLatin1String(dbus::kRootPath)) continue;
		out.insert(QDBusObjectPath(path), InterfaceMap{{object->description().name, object->properties()}});
	}
	call.reply({QVariant::fromValue(out)});
}

} // namespace archipelago::service
