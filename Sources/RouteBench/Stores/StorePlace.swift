// Where a store is measured: a place that nothing else uses, and that can be looked at a day later.

import Foundation
import IdempotencyStore
import PostgresIdempotencyStore
import RedisIdempotencyStore
import RoutingContract
import SQLiteIdempotencyStore
import Synchronization

/// An empty part of a server, or a new file.
final class StorePlace: Sendable {
    let kind: StoreKind
    private let url: String
    private let name = "bench_" + UUID().uuidString.lowercased().replacing("-", with: "_")
    private let clock = MovableClock()
    /// There is no second way into this one, so it stays open.
    private let inMemory: (any IdempotencyStore)?

    init(_ kind: StoreKind, _ servers: Servers, _ folder: BenchFolder) throws {
        self.kind = kind
        url = try servers.url(of: kind, in: folder)
        let backend = InMemoryStoreBackend(maximumEntries: .max, clock: clock.storeClock)
        inMemory = kind == .memory ? BatchingIdempotencyStore(backend) : nil
        if kind == .postgres { try Psql.run("CREATE SCHEMA \(name)", at: url) }
    }

    /// Opens the store and closes it afterwards.
    ///
    /// - Parameter later: by how much its clock is ahead of the real one. Zero leaves servers to their own clocks, as
    ///   workers do.
    func withStore<Value>(
        later: Duration = .zero, _ body: (any IdempotencyStore) async throws -> Value
    ) async throws -> Value {
        clock.move(to: later)
        if let inMemory { return try await body(inMemory) }
        let store = try open(later == .zero ? nil : clock.storeClock)
        do {
            let value = try await body(store)
            await store.close()
            return value
        } catch {
            await store.close()
            throw error
        }
    }

    private func open(_ clock: StoreClock?) throws -> any IdempotencyStore {
        switch kind {
        case .memory:
            preconditionFailure("the store in memory is open")
        case .sqlite:
            let path = String(url.dropFirst("sqlite:".count))
            return BatchingIdempotencyStore(try SQLiteStoreBackend(path: path, clock: clock ?? .system))
        case .postgres:
            guard var parts = URLComponents(string: url) else { throw BenchFailure("POSTGRES_URL is no URL") }
            parts.percentEncodedQuery = [parts.percentEncodedQuery, "options=-csearch_path%3D\(name)"]
                .compactMap(\.self).joined(separator: "&")
            return BatchingIdempotencyStore(
                PostgresStoreBackend(target: try PostgresTarget(url: parts.string ?? url), clock: clock))
        case .redis:
            return BatchingIdempotencyStore(
                RedisStoreBackend(target: try RedisTarget(url: url), namespace: name, clock: clock))
        }
    }

    /// Removes what was stored; of Redis' keys the counter of tokens stays.
    func remove() async {
        do {
            switch kind {
            case .memory, .sqlite: break
            case .postgres: try Psql.run("DROP SCHEMA \(name) CASCADE", at: url)
            case .redis:
                _ = try await withStore(later: .seconds(60 * 24 * 3600)) { try await $0.purge(limit: .max) }
            }
        } catch {
            say("cannot remove \(name) from \(kind.rawValue): \(error)")
        }
    }
}

/// The host's clock, which can be set ahead.
private final class MovableClock: Sendable {
    private let ahead = Mutex(Duration.zero)

    func move(to duration: Duration) { ahead.withLock { $0 = duration } }

    var storeClock: StoreClock { StoreClock { StoreClock.system.now() + self.ahead.withLock { $0 } } }
}
