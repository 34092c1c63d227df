// What the store's tests share: a clock that is set by hand, values with short names, and stores to run a test against.

import Foundation
import IdempotencyStore
import PostgresIdempotencyStore
import RedisIdempotencyStore
import RoutingContract
import SQLiteIdempotencyStore
import Synchronization
import TestSupport
import Testing

/// Stands still until a test moves it.
final class HandClock: Sendable {
    private let time = Mutex(Timestamp(milliseconds: 1_700_000_000_000))

    var now: Timestamp { time.withLock { $0 } }
    var storeClock: StoreClock { StoreClock { self.now } }

    func advance(by duration: Duration) {
        time.withLock { $0 = $0 + duration }
    }
}

let someOrg = OrgID("00D000000000001")!
let start = Timestamp(milliseconds: 1_700_000_000_000)

func key(_ number: UInt8, _ kind: CommandKind = .route) -> CommandKey {
    CommandKey(org: someOrg, kind: kind, request: RequestID(bytes: SIMD16(repeating: number)))
}

func fingerprint(_ number: UInt8) -> Fingerprint { Fingerprint(bytes: Array(repeating: number, count: 32)) }

func request(
    _ key: CommandKey, meaning: UInt8 = 0, conversation: String = "c", issuedAt: Timestamp? = nil, replay: Int = 0,
    acceptsSecondEffect: Bool = false, lease: Duration = .seconds(30), nonce: UInt64? = nil, callsMade: CallsMade? = nil
) -> ClaimRequest {
    ClaimRequest(
        key: key, fingerprint: fingerprint(meaning), conversation: conversation, issuedAt: issuedAt, replay: replay,
        acceptsSecondEffect: acceptsSecondEffect, lease: lease, worker: "worker-1", nonce: nonce, callsMade: callsMade)
}

func result(_ outcome: Outcome, attempts: Int = 1, reason: String? = nil) -> CommandResult {
    CommandResult(
        outcome: outcome, httpStatus: 202, response: APIResponse(Array(#"{"success":true}"#.utf8)),
        error: reason.map { CommandError(code: 10019, message: "in words", reason: $0) }, attempts: attempts,
        receivedAt: start, completedAt: start + .seconds(1), worker: "worker-1")
}

extension ClaimResult {
    /// The claim, where calling (or recording `superseded`) is what follows.
    var claim: Claim? {
        switch self {
        case .acquired(let claim), .interrupted(let claim), .superseded(let claim): claim
        case .completed, .inProgress, .conflict: nil
        }
    }

    var acquired: Claim? {
        guard case .acquired(let claim) = self else { return nil }
        return claim
    }
}

/// A folder of a test's own, gone with it.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appending(component: "store-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    func file(_ name: String) -> String { path + "/" + name }
}

/// The URL of the shared PostgreSQL, with an empty schema of a test's own in the search path.
func freshSchema() async throws -> String {
    let schema = uniqueName("conformance").replacing("-", with: "_")
    let url = try TestDatabase.postgres.url
    try await psql(url, "CREATE SCHEMA \(schema)")
    return url + "?options=-csearch_path%3D\(schema)"
}

/// Runs SQL by PostgreSQL's own client, and returns what it printed, unaligned.
@discardableResult
func psql(_ url: String, _ sql: String) async throws -> String {
    try await ChildProcess.run(
        URL(fileURLWithPath: "/usr/bin/env"), ["psql", url, "-v", "ON_ERROR_STOP=1", "-qAtXc", sql])
}

/// A store as tests see it: both ports.
typealias InspectedStore = IdempotencyStore & StoreInspection

/// The stores that must all behave the same.
enum StoreKind: String, CaseIterable, Sendable {
    case memory
    case sqlite
    case postgres
    case redis

    /// Runs a test against a fresh store, and closes it.
    func withStore(
        retention: Retention = Retention(), _ body: (any InspectedStore, HandClock) async throws -> Void
    ) async throws {
        let clock = HandClock()
        switch self {
        case .memory:
            let backend = InMemoryStoreBackend(retention: retention, clock: clock.storeClock)
            try await Self.run(body, on: BatchingIdempotencyStore(backend), clock)
        case .sqlite:
            let folder = try TemporaryFolder()
            defer { withExtendedLifetime(folder) {} }
            let backend = try SQLiteStoreBackend(
                path: folder.file("store.sqlite"), retention: retention, clock: clock.storeClock)
            try await Self.run(body, on: BatchingIdempotencyStore(backend), clock)
        case .postgres:
            let backend = PostgresStoreBackend(
                target: try PostgresTarget(url: try await freshSchema()), retention: retention,
                clock: clock.storeClock)
            try await Self.run(body, on: BatchingIdempotencyStore(backend), clock)
        case .redis:
            let backend = RedisStoreBackend(
                target: try RedisTarget(url: TestDatabase.redis.url), namespace: uniqueName("conformance"),
                retention: retention, clock: clock.storeClock)
            try await Self.run(body, on: BatchingIdempotencyStore(backend), clock)
        }
    }

    private static func run(
        _ body: (any InspectedStore, HandClock) async throws -> Void, on store: any InspectedStore,
        _ clock: HandClock
    ) async throws {
        do {
            try await body(store, clock)
        } catch {
            await store.close()
            throw error
        }
        await store.close()
    }
}
