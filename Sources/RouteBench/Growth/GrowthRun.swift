// One level: fill, claim and record, purge.

import Foundation
import IdempotencyStore
import RoutingContract

struct GrowthPoint: Codable, Sendable {
    var store: StoreKind
    var ids: RequestIDKind
    /// Stored before the commands were measured.
    var rows: Int
    var wallMicroseconds: Double
    /// Of this process and of the store's server together.
    var processorMicroseconds: Double
    var purgeMicroseconds: Double

    /// As the command's table has it.
    var line: String {
        let names = [store.rawValue, ids.rawValue].map { $0.padding(toLength: 8, withPad: " ", startingAt: 0) }
        return names.joined(separator: "  ")
            + String(
                format: "  %11d  %17.1f  %16.1f  %14.1f", rows, wallMicroseconds, processorMicroseconds,
                purgeMicroseconds)
    }
}

/// Measures one target at one level.
struct GrowthRun {
    private static let concurrency = 64
    private static let dueRows = 20_000
    private let target: any GrowthTarget
    private let servers: Servers
    private let kind: StoreKind
    private let ids: RequestIDKind
    private let seed = UInt64.random(in: .min ... .max)

    init(_ target: any GrowthTarget, _ servers: Servers, _ kind: StoreKind, _ ids: RequestIDKind) {
        self.target = target
        self.servers = servers
        self.kind = kind
        self.ids = ids
    }

    /// - Parameter missing: rows that are to be added to reach the level.
    func measure(at level: Int, adding missing: Int, commands: Int) async throws -> GrowthPoint {
        let store = target.store
        if missing > 0 {
            say("\(kind.rawValue), \(ids.rawValue): adding \(missing) rows")
            try await target.add(missing, isDue: false)
        }
        // Once before it counts, so that the pages that everybody needs are read.
        try await claimAndRecord(0..<2000, store)

        let (before, began) = (processorTime(), monotonicNow())
        try await claimAndRecord(2000..<(2000 + commands), store)
        let (after, ended) = (processorTime(), monotonicNow())

        try await target.add(Self.dueRows, isDue: true)
        let purgeBegan = monotonicNow()
        let purged = try await store.purge(limit: Self.dueRows)
        let purgeEnded = monotonicNow()
        guard purged == Self.dueRows else { throw BenchFailure("purged \(purged) rows instead of \(Self.dueRows)") }
        return GrowthPoint(
            store: kind, ids: ids, rows: level, wallMicroseconds: Double(ended - began) / 1e3 / Double(commands),
            processorMicroseconds: (after - before).total * 1e6 / Double(commands),
            purgeMicroseconds: Double(purgeEnded - purgeBegan) / 1e3 / Double(purged))
    }

    private func processorTime() -> ProcessorTime {
        ProcessFigures.time(of: getpid()) + servers.time(of: kind)
    }

    private func claimAndRecord(_ range: Range<Int>, _ store: any IdempotencyStore) async throws {
        let (ids, seed) = (ids, seed)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lane in 0..<Self.concurrency {
                group.addTask {
                    for index in stride(from: range.lowerBound + lane, to: range.upperBound, by: Self.concurrency) {
                        let id = ids.requestID(seed &+ UInt64(index), at: StoreClock.system.now())
                        try await Self.claimAndRecord(id, nonce: UInt64(index), store)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private static func claimAndRecord(
        _ id: RequestID, nonce: UInt64, _ store: any IdempotencyStore
    ) async throws {
        let key = CommandKey(org: OrgID(CommandLoad.org)!, kind: .route, request: id)
        let request = ClaimRequest(
            key: key, fingerprint: Fingerprint(bytes: Array(repeating: 1, count: 32)), conversation: "\(id)",
            lease: .seconds(60), worker: "bench", nonce: nonce)
        guard case .acquired(let claim) = try await store.claim(request) else {
            throw BenchFailure("a new command could not be claimed")
        }
        let (now, keepUntil) = SeedRow.times(isDue: false)
        guard case .completed(let ending) = SeedRow.record(keepUntil: keepUntil, at: now).state,
            try await store.record(ending.result, for: claim) == .held
        else { throw BenchFailure("a result could not be recorded") }
    }
}
