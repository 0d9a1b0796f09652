// SPDX-FileCopyrightText: The Archipelago project
// SPDX-License-Identifier: GPL-3.0-or-later
//
// To whoever starts peers a missing file is a configuration that cannot be used: one code for all of it.
#include "dbus/service/config_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <QFile>

namespace archipelago::service {

namespace {

/// Far above any real one, far below what a host process is handed in one message.
constexpr qint64 kMaxBytes = 128 << 10;

} // namespace

Result<QByteArray> readConfigText(const QString &path)
{
	const std::string name = path.toStdString();
	// O_NONBLOCK: a FIFO in its place must not hang us.
	const int fd = open(QFile::encodeName(path).constData(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		const int why = errno;
		auto error = systemFailure(why, "Cannot read " + name);
		if (why == ENOENT) return failure(ErrorCode::NotFound, "There is no " + name + ". Make it (an empty one is legal and means all defaults), or start archipelagod with --config FILE.");
		return error;
	}
	QFile file;
	file.open(fd, QIODevice::ReadOnly, QFileDevice::AutoCloseHandle);
	QByteArray text = file.read(kMaxBytes + 1);
	if (file.error() != QFileDevice::NoError)
		return failure(ErrorCode::Invalid, "Cannot read " + name + ": " + file.errorString().toStdString() + ".");
	if (text.size() > kMaxBytes) return failure(ErrorCode::Invalid, name + " is longer than 128 KiB: is it the right file?");
	return text;
}

Result<ConfigFile> readConfigFile(const QString &path, const ConfigDefaults &defaults)
{
	auto text = readConfigText(path);
	if (!text) return failure(ErrorCode::Config, text.error().message);
	ConfigFile out;
	out.text = std::move(*text);
	ParsedConfig parsed = parseConfig({out.text.constData(), static_cast<size_t>(out.text.size())}, defaults);
	if (!parsed.ok()) {
		std::string all;
		for (const Diagnostic &diagnostic : parsed.diagnostics)
			all += (all.empty() ? "" : "\n") + diagnostic.format(path.toStdString());
		return failure(ErrorCode::Config, std::move(all));
	}
	out.config = std::move(parsed.config);
	out.warnings = std::move(parsed.diagnostics);
	return out;
}

} // namespace archipelago::service
