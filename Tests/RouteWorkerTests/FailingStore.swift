// A store in front of another one that cannot be reached at first.

import Foundation
import IdempotencyStore
import RoutingContract

/// Fails the first operations of each kind: before they happen, or (every second time) after.
final class FailingStore: IdempotencyStore {
    private let store: any IdempotencyStore
    private let lock = NSLock()
    nonisolated(unsafe) private var claims: Int  // only reached with the lock held
    nonisolated(unsafe) private var records: Int  // likewise
    nonisolated(unsafe) private var releases: Int  // likewise
    nonisolated(unsafe) private var whenClaimFails: () -> Void = {}  // likewise

    /// - Parameter failedReleases: so many of them never happen.
    init(_ store: any IdempotencyStore, failures: Int = 0, failedReleases: Int = 0) {
        self.store = store
        claims = failures
        records = failures
        releases = failedReleases
    }

    private static let away = StoreError.unavailable("scripted")

    /// What happens together with the next failures.
    func whenClaimFails(_ body: @escaping @Sendable () -> Void) { lock.withLock { whenClaimFails = body } }

    func claim(_ request: ClaimRequest) async throws(StoreError) -> ClaimResult {
        let left = lock.withLock {
            claims -= 1
            return claims
        }
        guard left >= 0 else { return try await store.claim(request) }
        if left % 2 == 0 { _ = try await store.claim(request) }
        lock.withLock { whenClaimFails }()
        throw Self.away
    }

    func record(_ result: CommandResult, for claim: Claim) async throws(StoreError) -> Fencing {
        let left = lock.withLock {
            records -= 1
            return records
        }
        guard left >= 0 else { return try await store.record(result, for: claim) }
        if left % 2 == 0 { _ = try await store.record(result, for: claim) }
        throw Self.away
    }

    func release(_ claim: Claim, as release: Release) async throws(StoreError) -> Fencing {
        let fails = lock.withLock {
            releases -= 1
            return releases >= 0
        }
        if fails { throw Self.away }
        return try await store.release(claim, as: release)
    }

    func mark(_ request: ClaimRequest) async throws(StoreError) { try await store.mark(request) }

    func purge(limit: Int) async throws(StoreError) -> Int { try await store.purge(limit: limit) }

    func close() async { await store.close() }
}
