// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The committed XML of one interface, read at start: what introspection answers with, and what every call and every
// property is checked against. So the files in dbus/interfaces/ are the source of truth at run time too.
#pragma once

#include <QMap>
#include <QString>

namespace archipelago::service {

struct InterfaceDescription {
	struct Method {
		QString in, out; ///< D-Bus signatures
	};
	struct Property {
		QString signature;
		bool announced = true; ///< EmitsChangedSignal is not "false"
		bool constant = false;
	};
	QString name;
	QString xml; ///< the <interface> element, as committed
	QMap<QString, Method> methods;
	QMap<QString, Property> properties;
	QMap<QString, QString> signalSignatures;

	/// Of one of our interfaces, by its full name. The file is compiled in; a broken one is a programmer error.
	static const InterfaceDescription &of(const char *interface);
};

} // namespace archipelago::service
