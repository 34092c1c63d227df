// Reads written values into typed ones. A value that cannot be read is reported and replaced by its default, so that
// the rest is still checked.

struct SettingsReader {
    var sources: SettingsSources

    /// A setting that has a default.
    mutating func value<Value>(_ key: SettingKey<Value>, in name: String? = nil) -> Value {
        if let value = optional(key, in: name) { return value }
        guard let fallback = key.entry.fallback, let value = try? key.form.parse(fallback) else {
            preconditionFailure("\(key.entry.key) has no default that can be read")
        }
        return value
    }

    /// A setting that may be left out.
    mutating func optional<Value>(_ key: SettingKey<Value>, in name: String? = nil) -> Value? {
        let path = key.path(name)
        guard let written = sources.written(path), let (text, place) = written.texts.first else { return nil }
        return parse(text, key, path, place)
    }

    /// A setting that is a list. An empty one is left to the caller.
    mutating func list<Value>(_ key: SettingKey<Value>, in name: String? = nil) -> [Value] {
        let path = key.path(name)
        guard let written = sources.written(path) else { return [] }
        return written.texts.compactMap { parse($0.text, key, path, $0.place) }
    }

    mutating func parse<Value>(
        _ text: String, _ key: SettingKey<Value>, _ path: [String], _ place: SettingsPlace
    ) -> Value? {
        do throws(Refusal) {
            return try key.form.parse(text)
        } catch {
            sources.report(path, (key.entry.isSecret ? "" : shown(text) + " ") + error.reason, at: place)
            return nil
        }
    }
}

extension SettingKey {
    /// The key's path with `name` in the place of its `*`.
    func path(_ name: String?) -> [String] {
        guard let name else { return path }
        return path.map { $0 == "*" ? name : $0 }
    }
}
