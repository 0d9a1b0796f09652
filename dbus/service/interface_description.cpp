// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Reads the XML out of the program's resources. Main thread only.
#include "dbus/service/interface_description.h"

#include "daemon/base/errors.h"

#include <map>

#include <QFile>
#include <QXmlStreamReader>

namespace archipelago::service {

namespace {

QString attribute(const QXmlStreamReader &xml, const char *name)
{
	return xml.attributes().value(QLatin1String(name)).toString();
}

/// The reader stands on <method> or <signal>; leaves it at the end of that element.
InterfaceDescription::Method readArguments(QXmlStreamReader &xml)
{
	InterfaceDescription::Method method;
	while (xml.readNextStartElement()) {
		if (xml.name() == QLatin1String("arg")) {
			// A signal's arguments have no direction: they all go out.
			(attribute(xml, "direction") == QLatin1String("in") ? method.in : method.out) += attribute(xml, "type");
		}
		xml.skipCurrentElement();
	}
	return method;
}

InterfaceDescription::Property readProperty(QXmlStreamReader &xml)
{
	InterfaceDescription::Property property;
	property.signature = attribute(xml, "type");
	ARCHIPELAGO_ASSERT(attribute(xml, "access") == QLatin1String("read"));
	while (xml.readNextStartElement()) {
		if (attribute(xml, "name") == QLatin1String("org.freedesktop.DBus.Property.EmitsChangedSignal")) {
			property.announced = attribute(xml, "value") == QLatin1String("true");
			property.constant = attribute(xml, "value") == QLatin1String("const");
		}
		xml.skipCurrentElement();
	}
	return property;
}

InterfaceDescription read(const QString &name)
{
	QFile file(QLatin1String(":/interfaces/") + name + QLatin1String(".xml"));
	ARCHIPELAGO_ASSERT(file.open(QIODevice::ReadOnly));
	const QString text = QString::fromUtf8(file.readAll());

	InterfaceDescription out;
	QXmlStreamReader xml(text);
	ARCHIPELAGO_ASSERT(xml.readNextStartElement() && xml.readNextStartElement() && xml.name() == QLatin1String("interface"));
	out.name = attribute(xml, "name");
	ARCHIPELAGO_ASSERT(out.name == name);
	while (xml.readNextStartElement()) {
		const QString member = attribute(xml, "name");
		if (xml.name() == QLatin1String("method"))
			out.methods.insert(member, readArguments(xml));
		else if (xml.name() == QLatin1String("signal"))
			out.signalSignatures.insert(member, readArguments(xml).out);
		else if (xml.name() == QLatin1String("property"))
			out.properties.insert(member, readProperty(xml));
		else
			xml.skipCurrentElement();
	}
	ARCHIPELAGO_ASSERT(!xml.hasError());
	const auto begin = text.indexOf(QLatin1String("<interface"));
	const auto end = text.lastIndexOf(QLatin1String("</interface>"));
	out.xml = text.mid(begin, end - begin) + QLatin1String("</interface>\n");
	return out;
}

} // namespace

const InterfaceDescription &InterfaceDescription::of(const char *interface)
{
	static std::map<QString, InterfaceDescription> known;
	const QString name = QLatin1String(interface);
	auto found = known.find(name);
	if (found == known.end()) found = known.emplace(name, read(name)).first;
	return found->second;
}

} // namespace archipelago::service
