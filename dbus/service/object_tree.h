// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// ObjectTree and ExportedObject: what the service shows on the bus. Each object has one path, one interface and one snapshot
// of its properties; Get, GetAll, PropertiesChanged, GetManagedObjects and InterfacesAdded are all made from that snapshot,
// so they cannot disagree, and calls and values are checked against the interface's XML.
//
// QtDBus has neither ObjectManager nor PropertiesChanged, relays adaptor signals late and lets a property be set without a
// caller. So this is one virtual object at the root that answers for everything below it.
//
// Main thread. Objects add and remove themselves; the tree outlives them.
#pragma once

#include "daemon/base/errors.h"
#include "dbus/interfaces/bus.h"
#include "dbus/service/interface_description.h"

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>

#include <QDBusConnection>
#include <QDBusMessage>
#include <QDBusVirtualObject>

namespace archipelago::service {

class ObjectTree;

/// One call that waits for its answer: now or later, exactly once. Copies share it; when the last copy goes without an answer,
/// the caller gets E-FAILED instead of a timeout.
class MethodCall {
public:
	MethodCall(const QDBusConnection &bus, const QDBusMessage &message);

	QString path() const { return m_state->message.path(); }
	QString method() const { return m_state->message.member(); }
	QString sender() const { return m_state->message.service(); }
	bool interactive() const { return m_state->message.isInteractiveAuthorizationAllowed(); }
	/// Argument `i`, as the XML says. The number and types of arguments were checked before.
	template <typename T> T argument(qsizetype i) const { return qdbus_cast<T>(m_state->message.arguments().at(i)); }

	void reply(const QVariantList &values = {}) const;
	void fail(const Error &error) const;
	/// For the errors of D-Bus itself.
	void fail(const QString &name, const QString &message) const;

private:
	struct State {
		QDBusConnection bus;
		QDBusMessage message;
		bool answered = false;
		State(const QDBusConnection &b, const QDBusMessage &m) : bus(b), message(m) {}
		~State();
	};
	std::shared_ptr<State> m_state;
};

/// The D-Bus name of an error: ours by the table, or a standard one.
QString busErrorName(ErrorCode code);

/// One key that an options dictionary may have.
struct OptionSpec {
	const char *name;
	const char *signature; ///< "b", "t", "s"
};
/// E-INVALID: a key that is not in `known`, or a value of another type.
Result<QVariantMap> checkOptions(const QVariantMap &options, std::initializer_list<OptionSpec> known);

class ExportedObject {
public:
	/// `properties`: exactly those of the interface. Announces the object (InterfacesAdded).
	ExportedObject(ObjectTree &tree, const QString &path, const char *interface, const QVariantMap &properties);
	virtual ~ExportedObject(); ///< InterfacesRemoved
	ExportedObject(const ExportedObject &) = delete;
	ExportedObject &operator=(const ExportedObject &) = delete;

	const QString &path() const { return m_path; }
	const InterfaceDescription &description() const { return m_description; }
	const QVariantMap &properties() const { return m_properties; }
	QVariant value(const char *name) const { return m_properties.value(QLatin1String(name)); }

	/// Takes over what differs and announces it in one PropertiesChanged.
	void update(const QVariantMap &changes);
	void emitSignal(const char *member, const QVariantList &arguments);
	/// A call of one of the interface's methods, its arguments checked.
	virtual void called(const MethodCall &call) = 0;

protected:
	ObjectTree &m_tree;

private:
	QString m_path;
	const InterfaceDescription &m_description;
	QVariantMap m_properties;
};

class ObjectTree : public QDBusVirtualObject {
	Q_OBJECT

public:
	explicit ObjectTree(const QDBusConnection &bus);
	~ObjectTree() override;

	/// False when the path is taken on this connection already.
	bool publish();
	QDBusConnection bus() const { return m_bus; }
	ExportedObject *find(const QString &path) const;
	/// Who answers Volume calls below volumes/ for which there is no object: the mapper may know more than the tree.
	void setVolumeFallback(std::function<void(const MethodCall &)> fallback) { m_volumeFallback = std::move(fallback); }
	void emitSignal(const QString &path, const char *interface, const QString &member, const QVariantList &arguments);

	QString introspect(const QString &path) const override;
	bool handleMessage(const QDBusMessage &message, const QDBusConnection &connection) override;

private:
	friend class ExportedObject;
	void add(ExportedObject &object);
	void remove(ExportedObject &object);
	void handleProperties(const MethodCall &call, const QDBusMessage &message, const ExportedObject *object) const;
	void handleOwn(const MethodCall &call, const QDBusMessage &message, ExportedObject *object) const;
	void replyManagedObjects(const MethodCall &call) const;

	QDBusConnection m_bus;
	std::map<QString, ExportedObject *> m_objects;
	std::function<void(const MethodCall &)> m_volumeFallback;
};

} // namespace archipelago::service
