// Access tokens that somebody else fetches: one file or one environment variable per org.

import LoopSupport
public import NIOCore
public import RoutingContract

/// Where an org's fixed token comes from.
public enum TokenSource: Sendable, Hashable {
    /// A file that holds the token and nothing else but white space around it. Read again when it changes.
    case file(String)
    /// An environment variable, read once.
    case environment(String)
}

/// Gives out tokens from files and environment variables.
///
/// An actor on the worker's event loop, so that a call gets its token without a hop. A file's state (modification time,
/// size, inode) is looked at once per `checkInterval` at most, and by the call that needs the token: local files alone.
public actor FixedTokens: AccessTokens {
    private struct Entry {
        var source: TokenSource
        var result: Result<AccessToken, TokenFailure>
        var state: SecretFile.State?
        var checkAgain: NIODeadline
    }

    private nonisolated let executor: LoopExecutor
    private let checkInterval: TimeAmount
    private let environment: [String: String]
    private var entries: [OrgID: Entry]

    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - sources: where each org's token is. A token that cannot be had now is an error of that org's calls, not of
    ///     this initialiser: the file may come later.
    ///   - environment: the process's environment variables.
    ///   - checkInterval: how often a file's state is looked at, at most.
    public init(
        _ sources: [OrgID: TokenSource], environment: [String: String], eventLoop: any EventLoop,
        checkInterval: Duration = .seconds(1)
    ) {
        executor = LoopExecutor.of(eventLoop)
        self.checkInterval = TimeAmount(checkInterval)
        self.environment = environment
        entries = sources.mapValuesWithKeys { Self.entry($0, $1, environment) }
    }

    /// From now on tokens come from these sources; an org whose source is the same keeps what is known of it.
    public func replaceSources(with sources: [OrgID: TokenSource]) {
        let before = entries
        entries = sources.mapValuesWithKeys { org, source in
            if let entry = before[org], entry.source == source { return entry }
            return Self.entry(org, source, environment)
        }
    }

    private static func entry(_ org: OrgID, _ source: TokenSource, _ environment: [String: String]) -> Entry {
        switch source {
        case .file(let path):
            // Read when first needed.
            Entry(
                source: source, result: .failure(TokenFailure("the token file \(path) was not read yet")),
                state: nil, checkAgain: .uptimeNanoseconds(0))
        case .environment(let name):
            Entry(
                source: source,
                result: token(from: environment[name], called: "environment variable \(name)", of: org),
                state: nil, checkAgain: .distantFuture)
        }
    }

    public func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure> {
        guard var entry = entries[org] else { return .failure(TokenFailure("no token is configured for org \(org)")) }
        guard case .file(let path) = entry.source else { return entry.result }
        let now = NIODeadline.now()
        guard entry.checkAgain <= now else { return entry.result }
        entry.checkAgain = now + checkInterval
        switch SecretFile.readIfChanged(path, called: "token file", since: entry.state) {
        case .success(nil):
            break
        case .success(let (text, state)?):
            entry.state = state
            entry.result = Self.token(from: text, called: "token file \(path)", of: org)
        case .failure(let failure):
            entry.state = nil
            entry.result = .failure(failure)
        }
        entries[org] = entry
        return entry.result
    }

    /// What a changed file holds by now. The file may have been looked at within the interval, so it is looked at again.
    public func token(
        for org: OrgID, insteadOf refused: AccessToken, timeout: Duration
    ) async -> Result<AccessToken, TokenFailure>? {
        entries[org]?.checkAgain = .uptimeNanoseconds(0)
        guard case .success(let token) = await token(for: org, timeout: timeout), token != refused else { return nil }
        return .success(token)
    }

    /// Why orgs have no token. Looks at files as a call does.
    func problems() async -> (orgs: Int, problems: [OrgID: TokenFailure]) {
        var problems: [OrgID: TokenFailure] = [:]
        for org in entries.keys {
            if case .failure(let failure) = await token(for: org, timeout: .zero) { problems[org] = failure }
        }
        return (entries.count, problems)
    }

    public func shutDown() async {}

    private static func token(
        from text: String?, called name: String, of org: OrgID
    ) -> Result<AccessToken, TokenFailure> {
        guard let text else { return .failure(TokenFailure("the \(name) is not set")) }
        let trimmed = text.trimmed
        guard !trimmed.isEmpty else { return .failure(TokenFailure("the \(name) is empty")) }
        guard let token = AccessToken(trimmed) else {
            return .failure(TokenFailure("the \(name) holds something else than one token"))
        }
        if let other = token.org, other != org {
            return .failure(TokenFailure("the \(name) holds a token of org \(other), and not one of org \(org)"))
        }
        return .success(token)
    }
}

extension Dictionary {
    fileprivate func mapValuesWithKeys<Other>(_ transform: (Key, Value) -> Other) -> [Key: Other] {
        Dictionary<Key, Other>(uniqueKeysWithValues: map { ($0.key, transform($0.key, $0.value)) })
    }
}

extension StringProtocol {
    /// Without white space and line ends around it.
    var trimmed: SubSequence {
        let start = firstIndex { !$0.isWhitespace } ?? endIndex
        let end = lastIndex { !$0.isWhitespace }.map(index(after:)) ?? start
        return self[start..<end]
    }
}
