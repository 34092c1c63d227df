// Access tokens by the OAuth 2.0 JWT bearer flow (RFC 7523): fetched when needed, shared by all calls of an org.

import Foundation
public import Logging
import LoopSupport
import NIOConcurrencyHelpers
public import NIOCore
import NIOSSL
public import RoutingContract
import WorkerLog

/// Fetches and keeps the access token of each org.
///
/// An actor on the worker's event loop: a call whose token is there gets it without a hop. Signing happens elsewhere.
/// Of each org one request is in flight at a time, and everybody who needs its token waits for that one.
public actor OAuthTokens: AccessTokens {
    private typealias Outcome = Result<AccessToken, TokenFailure>

    private struct Entry {
        let credentials: OAuthCredentials
        /// Unique: tells a round of credentials that were replaced meanwhile.
        let number: Int
        var cycle: TokenCycle
        var waiting: [EventLoopPromise<Outcome>] = []
        var round: Task<Void, Never>?
    }

    /// The clocks, so that waiting can be tested.
    struct Clocks: Sendable {
        /// For assertions, which others judge.
        var wall: @Sendable () -> Timestamp
        /// Never steps: for lifetimes and pauses.
        var uptime: @Sendable () -> Duration

        static let system = Clocks(
            wall: { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) },
            uptime: { .nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds)) })
    }

    private nonisolated let known: NIOLockedValueBox<Set<OrgID>>
    private nonisolated let eventLoop: any EventLoop
    private nonisolated let executor: LoopExecutor
    private let settings: OAuthSettings
    private let tls: TLSConfiguration
    private let clocks: Clocks
    private let logger: Logger
    private var generator: any RandomNumberGenerator & Sendable
    private var entries: [OrgID: Entry] = [:]
    private var entriesMade: Int
    /// Rounds of credentials that were replaced meanwhile, by the number of their entry; cancelled, they end soon.
    private var abandoned: [Int: Task<Void, Never>] = [:]
    /// Made for the first request: it would have to be shut down even if it was never used.
    private var endpoint: TokenEndpoint?
    private var isShutDown = false

    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameter logger: told of every round that failed and every key that did not serve; never a secret.
    /// - Throws: ``InteractionSettingsError`` for a token URL or CA file that cannot be used. Key files are read when
    ///   they are needed: they may come later.
    public init(
        _ settings: OAuthSettings, eventLoop: any EventLoop, logger: Logger
    ) throws(InteractionSettingsError) {
        try self.init(
            settings, eventLoop: eventLoop, logger: logger, clocks: .system, generator: SystemRandomNumberGenerator())
    }

    init(
        _ settings: OAuthSettings, eventLoop: any EventLoop, logger: Logger, clocks: Clocks,
        generator: any RandomNumberGenerator & Sendable
    ) throws(InteractionSettingsError) {
        try Self.check(settings.orgs)
        if let authorization = settings.proxy?.authorization, !authorization.hasPrefix(TokenEndpoint.basic) {
            throw InteractionSettingsError("the proxy's authorization must be Basic")
        }
        self.settings = settings
        self.eventLoop = eventLoop
        self.clocks = clocks
        self.logger = logger
        self.generator = generator
        executor = LoopExecutor.of(eventLoop)
        tls = try ClientTLS.configuration(extraCAFile: settings.extraCAFile)
        known = NIOLockedValueBox(Set(settings.orgs.keys))
        for (number, org) in settings.orgs.enumerated() {
            entries[org.key] = Entry(
                credentials: org.value, number: number, cycle: TokenCycle(policy: settings.refresh))
        }
        entriesMade = entries.count
    }

    /// The orgs that it has credentials of.
    public nonisolated var orgs: Set<OrgID> { known.withLockedValue { $0 } }

    nonisolated func has(_ org: OrgID) -> Bool { known.withLockedValue { $0.contains(org) } }

    /// Throws what is wrong with credentials, for ``replaceCredentials(with:)``.
    public static func check(_ orgs: [OrgID: OAuthCredentials]) throws(InteractionSettingsError) {
        for (org, credentials) in orgs {
            let url = try BaseURL(credentials.tokenURL, called: "token URL")
            guard url.origin.isTLS || url.origin.isLoopback else {
                throw InteractionSettingsError(
                    "the token URL \"\(credentials.tokenURL)\" of org \(org) would send assertions unencrypted: use https"
                )
            }
            guard !credentials.keyFiles.isEmpty else {
                throw InteractionSettingsError("org \(org) has no key file to sign with")
            }
        }
    }

    /// From now on these credentials are used, which ``check(_:)`` has found to be right. An org whose credentials are the
    /// same keeps its token, or may ask for one at once where it was refused one, since a key file may have changed; who
    /// waits for a token of replaced ones gets one of the new.
    public func replaceCredentials(with orgs: [OrgID: OAuthCredentials]) {
        let before = entries
        entries = [:]
        for (org, credentials) in orgs {
            if var entry = before[org], entry.credentials == credentials {
                entry.cycle.mayBeMended(now: clocks.uptime())
                entries[org] = entry
            } else {
                entries[org] = Entry(
                    credentials: credentials, number: entriesMade, cycle: TokenCycle(policy: settings.refresh))
                entriesMade += 1
            }
        }
        known.withLockedValue { $0 = Set(orgs.keys) }
        for (org, entry) in before where entries[org]?.number != entry.number {
            abandoned[entry.number] = entry.round
            entry.round?.cancel()
            guard !entry.waiting.isEmpty else { continue }
            if entries[org] == nil {
                let failure = TokenFailure("no access token: the credentials were taken out of the configuration")
                for promise in entry.waiting { promise.succeed(.failure(failure)) }
            } else {
                entries[org]?.waiting = entry.waiting
                refresh(org)
            }
        }
    }

    public func token(for org: OrgID, timeout: Duration) async -> Result<AccessToken, TokenFailure> {
        guard let answer = entries[org]?.cycle.asked(now: clocks.uptime()) else {
            return .failure(TokenFailure("no credentials are configured for org \(org)"))
        }
        return await outcome(of: follow(answer, org), timeout)
    }

    public func token(
        for org: OrgID, insteadOf refused: AccessToken, timeout: Duration
    ) async -> Result<AccessToken, TokenFailure>? {
        guard let answer = entries[org]?.cycle.refused(refused, now: clocks.uptime()) else { return nil }
        return await outcome(of: follow(answer, org), timeout)
    }

    /// Why orgs have no token, of those that needed one.
    var problems: [OrgID: TokenFailure] { entries.compactMapValues(\.cycle.trouble) }

    /// Ends every request; those who wait for one are told so.
    public func shutDown() async {
        isShutDown = true
        let rounds = entries.values.compactMap(\.round)
        for round in rounds { round.cancel() }
        for round in rounds + abandoned.values { await round.value }
        await endpoint?.shutDown()
        endpoint = nil
    }

    /// What becomes of somebody who asked.
    private enum Followed {
        case known(Outcome)
        /// A round tells.
        case told(EventLoopPromise<Outcome>)
    }

    /// In one go with the question: a round that ended in between would be taken for one that is still to be started.
    private func follow(_ answer: TokenCycle.Answer, _ org: OrgID) -> Followed {
        switch answer {
        case .token(let token, let thenRefresh):
            if thenRefresh { refresh(org) }
            return .known(.success(token))
        case .failure(let failure):
            return .known(.failure(failure))
        case .refresh:
            refresh(org)
            guard entries[org]?.round != nil else {
                return .known(.failure(TokenFailure("no access token: the worker ends")))
            }
            let promise = eventLoop.makePromise(of: Outcome.self)
            entries[org]?.waiting.append(promise)
            return .told(promise)
        }
    }

    private func outcome(of followed: Followed, _ timeout: Duration) async -> Outcome {
        let promise: EventLoopPromise<Outcome>
        switch followed {
        case .known(let outcome): return outcome
        case .told(let told): promise = told
        }
        // Of several ends of a promise the first counts.
        let timer = eventLoop.scheduleTask(in: TimeAmount(min(timeout, .seconds(24 * 3600)))) {
            // The round goes on, and says what is wrong with the endpoint: this call alone had no more time.
            promise.succeed(
                .failure(
                    TokenFailure("no access token: the token endpoint did not answer in time", retryAfter: .zero)))
        }
        defer { timer.cancel() }
        let outcome = await withTaskCancellationHandler {
            try? await promise.futureResult.get()
        } onCancel: {
            promise.succeed(.failure(TokenFailure("no access token: the call was cancelled")))
        }
        return outcome ?? .failure(TokenFailure("no access token: the worker ends"))
    }

    /// Starts a round unless one is under way.
    private func refresh(_ org: OrgID) {
        guard !isShutDown, let entry = entries[org], entry.round == nil else { return }
        entries[org]?.cycle.refreshStarted(now: clocks.uptime())
        let endpoint = endpoint ?? TokenEndpoint(settings, tls: tls, eventLoop: eventLoop)
        self.endpoint = endpoint
        let round = TokenRound(org: org, credentials: entry.credentials, endpoint: endpoint, wallClock: clocks.wall)
        // A task of its own: it belongs to all who wait for it, and goes on when the first of them is cancelled. It ends
        // by itself, bounded by the request timeout and the number of keys, or with `shutDown`.
        // Without the loop as its preference: reading and signing with a key belong on other threads.
        entries[org]?.round = Task { finish(org, entry.number, await round.run()) }
    }

    private func finish(_ org: OrgID, _ number: Int, _ result: Result<GrantedToken, TokenTrouble>) {
        guard var entry = entries[org], entry.number == number else {
            abandoned[number] = nil
            return
        }
        let waiting = entry.waiting
        entry.waiting = []
        entry.round = nil
        let now = clocks.uptime()
        let outcome: Outcome
        switch result {
        case .success(let granted):
            entry.cycle.succeeded(granted.token, lifetime: granted.lifetime, now: now, using: &generator)
            outcome = .success(granted.token)
            for failure in granted.passedOver {
                logger.notice(
                    "a key did not serve, a later one did",
                    metadata: [LogKey.org: "\(org)", LogKey.error: "\(failure)"])
            }
        case .failure(let trouble):
            entry.cycle.failed(trouble, now: now, using: &generator)
            // The one before may do, where it was not refused.
            if case .token(let token, _) = entry.cycle.asked(now: now) {
                outcome = .success(token)
            } else {
                outcome = .failure(trouble.failure)
            }
            logger.warning("no new access token", metadata: [LogKey.org: "\(org)", LogKey.error: "\(trouble.failure)"])
        }
        entries[org] = entry
        for promise in waiting { promise.succeed(outcome) }
    }
}

/// One round: the keys in their order, until one gives a token.
struct TokenRound: Sendable {
    let org: OrgID
    let credentials: OAuthCredentials
    let endpoint: TokenEndpoint
    let wallClock: @Sendable () -> Timestamp

    func run() async -> Result<GrantedToken, TokenTrouble> {
        var troubles: [TokenTrouble] = []
        for file in credentials.keyFiles {
            switch await Assertion(credentials, now: wallClock()).signed(withKeyIn: file) {
            case .failure(let failure):
                troubles.append(TokenTrouble(failure: failure, isRefusal: true))
                continue
            case .success(let assertion):
                switch await endpoint.ask(credentials.tokenURL, assertion: assertion) {
                case .failure(let failure):
                    return .failure(TokenTrouble(failure: failure, isRefusal: false))
                case .success(let answer):
                    switch answer.meaning(for: org, now: wallClock()) {
                    case .granted(var granted):
                        granted.passedOver = troubles.map(\.failure)
                        return .success(granted)
                    case .refused(let trouble, anotherKeyMayHelp: false):
                        return .failure(trouble)
                    case .refused(let trouble, anotherKeyMayHelp: true):
                        troubles.append(trouble)
                    }
                }
            }
        }
        return .failure(combined(troubles))
    }

    /// What was wrong with each key, each thing once.
    private func combined(_ troubles: [TokenTrouble]) -> TokenTrouble {
        var texts: [String] = []
        for trouble in troubles where !texts.contains(trouble.failure.description) {
            texts.append(trouble.failure.description)
        }
        let keys = troubles.count > 1 ? " (\(troubles.count) keys tried)" : ""
        return TokenTrouble(failure: TokenFailure(texts.joined(separator: "; ") + keys), isRefusal: true)
    }
}
