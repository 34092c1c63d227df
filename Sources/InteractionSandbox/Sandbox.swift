// The sandbox as a service: a stand-in for Salesforce's Interaction Service API and its token endpoint.

import Hummingbird
public import Logging
import NIOCore
import NIOPosix
public import RoutingContract
public import ServiceLifecycle
import Synchronization

/// A stand-in for Salesforce's Interaction Service API and its token endpoint, for trials and tests.
///
/// Started by ``run()``, alone or in a `ServiceGroup`; it ends with graceful shutdown or cancellation of its task. Tests
/// use ``withRunning(settings:logger:_:)``. What the control API under `/sandbox` offers can be called here as well.
public final class Sandbox: Service, Sendable {
    private let settings: SandboxSettings
    private let logger: Logger
    let state: StateBox
    private let boundPort: EventLoopPromise<Int>

    /// - Throws: ``InvalidSandboxSettings`` or ``InvalidFault``.
    public init(settings: SandboxSettings = SandboxSettings(), logger: Logger = Logger(label: "sandbox")) throws {
        try settings.check()
        self.settings = settings
        self.logger = logger
        state = StateBox(try SandboxState(settings: settings, now: .now))
        boundPort = MultiThreadedEventLoopGroup.singleton.any().makePromise()
    }

    deinit {
        boundPort.fail(NotRunning())
    }

    /// Serves until graceful shutdown or cancellation. May be called once.
    ///
    /// - Throws: when the address cannot be bound.
    public func run() async throws {
        // The server's own news would only double what the sandbox says.
        var serverLogger = logger
        serverLogger.logLevel = max(.warning, logger.logLevel)
        let application = Application(
            router: SandboxRoutes(state: state, settings: settings, logger: logger).router,
            configuration: ApplicationConfiguration(
                address: .hostname(settings.host, port: settings.port), serverName: "interaction-sandbox", backlog: 1024
            ),
            onServerRunning: { [boundPort] channel in
                boundPort.succeed(channel.localAddress?.port ?? 0)
            },
            logger: serverLogger)
        do {
            try await application.run()
        } catch {
            boundPort.fail(error)
            throw error
        }
        boundPort.fail(NotRunning())
    }

    /// The port that it listens on, as soon as it does.
    ///
    /// - Throws: what `run()` throws when it fails before.
    public var port: Int {
        get async throws { try await boundPort.futureResult.get() }
    }

    /// `http://host:port`, as soon as it listens.
    public var baseURL: String {
        get async throws {
            let host = settings.host.contains(":") ? "[\(settings.host)]" : settings.host
            return "http://\(host):\(try await port)"
        }
    }

    /// Runs a sandbox on a free port of loopback for as long as `body` takes; connections still open are cut then.
    public static func withRunning<Result: Sendable>(
        settings: SandboxSettings = SandboxSettings(), logger: Logger = Logger(label: "sandbox"),
        _ body: (Sandbox, _ baseURL: String) async throws -> Result
    ) async throws -> Result {
        var settings = settings
        settings.port = 0
        let sandbox = try Sandbox(settings: settings, logger: logger)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await sandbox.run() }
            let outcome: Swift.Result<Result, any Error>
            do {
                outcome = .success(try await body(sandbox, try await sandbox.baseURL))
            } catch {
                outcome = .failure(error)
            }
            group.cancelAll()
            // The server may report its cancellation as an error; only the outcome of `body` counts here.
            while let ended = await group.nextResult() { _ = ended }
            return try outcome.get()
        }
    }

    /// What the ledger holds for a RequestId, in any letter case.
    public func effects(of requestID: String) -> EffectCount {
        state.access { $0.ledger.effects(of: requestID) }
    }

    /// Entries of the ledger, oldest first.
    public func ledger(_ filter: LedgerFilter = LedgerFilter()) -> [LedgerEntry] {
        state.access { $0.ledger.entries(filter) }
    }

    public func summary() -> SandboxSummary {
        state.access { $0.summary(now: .now) }
    }

    /// Pending service routings, oldest first, 1,000 at most.
    public func routings(conversation: String? = nil, org: OrgID? = nil) -> [PendingRouting] {
        state.access { $0.book.list(conversation: conversation, org: org, state: nil, limit: 1000, now: .now) }
    }

    /// Adds a fault rule behind those in force and returns it with its number.
    @discardableResult
    public func add(_ fault: Fault) throws(InvalidFault) -> Fault {
        try state.access { sandbox throws(InvalidFault) in try sandbox.faults.add(fault) }
    }

    /// Removes all fault rules.
    public func removeFaults() {
        state.access { $0.faults.removeAll() }
    }

    /// Revokes the tokens issued for an org, or all. Returns how many.
    @discardableResult
    public func revokeTokens(org: OrgID? = nil) -> Int {
        state.access { $0.tokens.revokeAll(org: org) }
    }

    struct NotRunning: Error {}
}

/// The one state behind a lock: a request holds it for microseconds, and never while it waits.
final class StateBox: Sendable {
    private let state: Mutex<SandboxState>

    init(_ state: sending SandboxState) {
        self.state = Mutex(state)
    }

    func access<Result: Sendable, Failure: Error>(
        _ body: (inout SandboxState) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try state.withLock { (state: inout SandboxState) throws(Failure) -> Result in try body(&state) }
    }
}
