// Callers of one store: each claims and records, one pair after another.

import Foundation
import Histogram
import IdempotencyStore
import RoutingContract
import Synchronization

/// Measures one store, line after line.
struct StoreRun {
    /// By then the successes that are there have outlasted their retention, and those that come in have not.
    private static let later = Duration.seconds(25 * 3600)

    private let place: StorePlace
    private let servers: Servers
    private let seconds: Double

    init(_ place: StorePlace, _ servers: Servers, seconds: Double) {
        self.place = place
        self.servers = servers
        self.seconds = seconds
    }

    func measure(callers: Int) async throws -> StoreFigures {
        let kind = place.kind
        let title = "\(kind.rawValue), \(callers) callers"
        return try await place.withStore { store in
            // Connects and makes the tables, which is not what is measured.
            _ = try await store.purge(limit: 1)
            let bar = ProgressBar(title, total: Int(seconds * 10))
            let (server, client, start) = (servers.time(of: kind), processorSeconds(), ContinuousClock.now)
            let end = start + .seconds(seconds)
            let times = try await Self.call(store, callers, while: { ContinuousClock.now < end }, bar)
            let elapsed = (ContinuousClock.now - start) / .seconds(1)
            let perPair = 1e6 / Double(times.count)
            let figures = StoreFigures(
                store: kind, callers: callers, pairs: times.count, perSecond: Double(times.count) / elapsed,
                client: (processorSeconds() - client) * perPair,
                server: (servers.time(of: kind) - server).total * perPair, milliseconds: Self.percentiles(of: times))
            bar.finish("\(title): \(Int(figures.perSecond)) pairs a second")
            return figures
        }
    }

    /// Purges all that was stored so far, while callers go on until it is done.
    func purge(callers: Int) async throws -> PurgeFigures {
        let kind = place.kind
        let quiet = try await measure(callers: callers)
        return try await place.withStore(later: Self.later) { store in
            let isDone = Mutex(false)
            let start = ContinuousClock.now
            async let calling = Self.call(store, callers, while: { !isDone.withLock { $0 } })
            let purging: Result<Int, any Error>
            do { purging = .success(try await store.purge(limit: .max)) } catch { purging = .failure(error) }
            let elapsed = (ContinuousClock.now - start) / .seconds(1)
            isDone.withLock { $0 = true }
            let times = try await calling
            let purged = try purging.get()
            let figures = PurgeFigures(
                store: kind, callers: callers, purged: purged, purgedPerSecond: Double(purged) / elapsed,
                pairs: times.count, perSecond: Double(times.count) / elapsed,
                milliseconds: Self.percentiles(of: times), quiet: quiet.milliseconds)
            say("\(kind.rawValue), \(callers) callers beside a purge: \(purged) rows purged")
            return figures
        }
    }

    // MARK: Callers

    /// - Returns: how long each pair took, in nanoseconds. Every caller makes at least one.
    private static func call(
        _ store: any IdempotencyStore, _ callers: Int, while goesOn: @escaping @Sendable () -> Bool,
        _ bar: ProgressBar? = nil
    ) async throws -> [UInt64] {
        try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for caller in 0..<callers {
                group.addTask {
                    var generator = SystemRandomNumberGenerator()
                    var times: [UInt64] = []
                    let start = ContinuousClock.now
                    repeat {
                        let began = monotonicNow()
                        try await pair(store, &generator)
                        times.append(monotonicNow() - began)
                        if caller == 0, let bar {
                            let tenths = Int((ContinuousClock.now - start) / .milliseconds(100))
                            bar.update(tenths, note: "\(times.count) pairs each")
                        }
                    } while goesOn()
                    return times
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    private static let org = OrgID(CommandLoad.org)!
    static let response = APIResponse(
        Array(#"{"success":true,"psrId":"0JRSB0000004x7w4AA","workItemId":"0MwSB000000Ab1x0AC"}"#.utf8))

    /// What a worker asks of the store for a command that succeeds.
    private static func pair(
        _ store: any IdempotencyStore, _ generator: inout SystemRandomNumberGenerator
    ) async throws {
        let request = RequestID.random(using: &generator)
        let now = StoreClock.system.now()
        var wish = ClaimRequest(
            key: CommandKey(org: org, kind: .route, request: request),
            fingerprint: Fingerprint(bytes: (0..<32).map { _ in .random(in: .min ... .max, using: &generator) }),
            conversation: "\(request)", issuedAt: now, lease: .seconds(60), worker: "bench-1234",
            nonce: generator.next())
        wish.delivery = DeliveryNote(receivedAt: now)
        guard case .acquired(var claim) = try await store.claim(wish) else {
            throw BenchFailure("a new command could not be claimed")
        }
        claim.calls = [CallNote(startedAt: now, duration: .milliseconds(80), end: .answered(status: 202))]
        let result = CommandResult(
            outcome: .succeeded, httpStatus: 202, response: response, attempts: 1, receivedAt: now, completedAt: now,
            worker: "bench-1234")
        guard try await store.record(result, for: claim) == .held else {
            throw BenchFailure("a claim was lost while it was held")
        }
    }

    private static func percentiles(of times: [UInt64]) -> Percentiles {
        var histogram = Histogram<UInt64>(highestTrackableValue: 600_000_000_000)
        for time in times { histogram.record(time) }
        return Percentiles(histogram)
    }

    /// Processor time of this process, all threads together.
    private func processorSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
