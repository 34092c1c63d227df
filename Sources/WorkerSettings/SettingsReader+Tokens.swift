// Reads where an org's access tokens come from: exactly one of a file, an environment variable and OAuth.

extension SettingsReader {
    private enum Kind: String, CaseIterable { case tokenFile, tokenEnvironment, oauth }

    /// Rotation needs two; more are a mistake, and each may cost a request.
    private static let maximumKeyFiles = 8

    /// The org's own kind of source, or else that of the defaults; of two on one level, neither. Of `oauth`, what the org
    /// does not say itself is taken over from the defaults, setting by setting.
    ///
    /// - Parameter alias: `nil` reads the defaults alone, so that their mistakes are reported once.
    mutating func token(_ alias: String?) -> Settings.TokenSource? {
        let shared = kind(Keys.defaults, nil)
        guard let alias else {
            return shared.kind.flatMap { source($0, Keys.defaults, nil) }
        }
        let own = kind(Keys.org, alias)
        if own.isWritten { return own.kind.flatMap { source($0, Keys.org, alias) } }
        guard shared.isWritten else {
            sources.report(
                [Keys.orgsSection, alias, Kind.tokenFile.rawValue],
                "is missing, write tokenFile:, tokenEnvironment: or oauth: here or under defaults:")
            return nil
        }
        guard let kind = shared.kind else { return nil }
        return source(kind, kind == .oauth ? Keys.org : Keys.defaults, kind == .oauth ? alias : nil)
    }

    /// The one kind that is written on a level; `nil` with `isWritten` where several are.
    private mutating func kind(_ keys: OrgKeys, _ alias: String?) -> (isWritten: Bool, kind: Kind?) {
        let written = Kind.allCases.filter { kind in paths(kind, keys, alias).contains(where: sources.isWritten) }
        if written.count > 1, let last = written.last {
            let others = written.dropLast().map(\.rawValue).joined(separator: " and ")
            let path = paths(last, keys, alias).first(where: sources.isWritten) ?? []
            let section = last == .oauth ? Array(path.dropLast()) : path
            sources.report(
                section, "and \(others) are \(written.count == 2 ? "both" : "all") given, keep one of them")
        }
        return (!written.isEmpty, written.count == 1 ? written[0] : nil)
    }

    private func paths(_ kind: Kind, _ keys: OrgKeys, _ alias: String?) -> [[String]] {
        switch kind {
        case .tokenFile: [keys.tokenFile.path(alias)]
        case .tokenEnvironment: [keys.tokenEnvironment.path(alias)]
        case .oauth: keys.oauth.paths.map { path in path.map { $0 == "*" ? alias ?? $0 : $0 } }
        }
    }

    private mutating func source(_ kind: Kind, _ keys: OrgKeys, _ alias: String?) -> Settings.TokenSource? {
        switch kind {
        case .tokenFile: optional(keys.tokenFile, in: alias).map { .file($0) }
        case .tokenEnvironment: optional(keys.tokenEnvironment, in: alias).map { .environment($0) }
        case .oauth: oauth(alias).map { .oauth($0) }
        }
    }

    private mutating func oauth(_ alias: String?) -> Settings.OAuth? {
        let tokenURL = oauth(\.tokenURL, alias)
        let clientID = oauth(\.clientID, alias)
        let username = oauth(\.username, alias)
        let audience = oauth(\.audience, alias)
        let keyFiles = keyFiles(alias)
        guard let tokenURL, let clientID, let username, let audience, let keyFiles else { return nil }
        return Settings.OAuth(
            tokenURL: tokenURL, clientID: clientID, username: username, audience: audience, keyFiles: keyFiles)
    }

    private mutating func oauth(_ key: KeyPath<OAuthKeys, SettingKey<String>>, _ alias: String?) -> String? {
        let (own, shared) = (Keys.org.oauth[keyPath: key], Keys.defaults.oauth[keyPath: key])
        if let alias, sources.isWritten(own.path(alias)) { return optional(own, in: alias) }
        if sources.isWritten(shared.path) || shared.entry.fallback != nil { return optional(shared) }
        reportMissing(own, alias)
        return nil
    }

    private mutating func keyFiles(_ alias: String?) -> [String]? {
        let (own, shared) = (Keys.org.oauth.keyFiles, Keys.defaults.oauth.keyFiles)
        let isOwn = alias.map { sources.isWritten(own.path($0)) } ?? false
        guard isOwn || sources.isWritten(shared.path) else {
            reportMissing(own, alias)
            return nil
        }
        let (key, name) = isOwn ? (own, alias) : (shared, nil)
        let count = sources.written(key.path(name))?.texts.count ?? 0
        guard 1...Self.maximumKeyFiles ~= count else {
            sources.report(
                key.path(name),
                count == 0
                    ? "is an empty list, write at least one path"
                    : "names \(count) files, write \(Self.maximumKeyFiles) at most")
            return nil
        }
        let files = list(key, in: name)
        return files.count == count ? files : nil
    }

    /// What the defaults lack an org may have: only an org that has it nowhere is told.
    private mutating func reportMissing(_ key: SettingKey<String>, _ alias: String?) {
        guard let alias else { return }
        sources.report(
            key.path(alias), "is missing, write \(key.path[key.path.count - 1]): here or under defaults: oauth:")
    }
}
