// What the benchmark of stores found: as JSON, and as tables for people.

/// One line: so many callers of a store.
struct StoreFigures: Codable, Sendable {
    var store: StoreKind
    var callers: Int
    var pairs: Int
    var perSecond: Double
    /// Microseconds of processor time a pair, of the process that asks.
    var client: Double
    /// Likewise of the store's server; zero where there is none or its process is not known.
    var server: Double
    var milliseconds: Percentiles
}

/// Callers beside a purge.
struct PurgeFigures: Codable, Sendable {
    var store: StoreKind
    var callers: Int
    var purged: Int
    var purgedPerSecond: Double
    var pairs: Int
    var perSecond: Double
    /// While it was purged, and just before.
    var milliseconds: Percentiles
    var quiet: Percentiles
}

struct StoresReport: Codable, Sendable {
    var machine = Machine()
    var seconds: Double
    var figures: [StoreFigures] = []
    var purges: [PurgeFigures] = []

    init(seconds: Double) { self.seconds = seconds }

    var table: String {
        let pairs = figures.map {
            [
                $0.store.rawValue, "\($0.callers)", "\(Int($0.perSecond))", $0.client.formatted(1),
                $0.server.formatted(1), $0.milliseconds.median.formatted(2), $0.milliseconds.p99.formatted(2),
                $0.milliseconds.maximum.formatted(1),
            ]
        }
        let beside = purges.map {
            [
                $0.store.rawValue, "\($0.callers)", "\($0.purged)", "\(Int($0.purgedPerSecond))",
                "\(Int($0.perSecond))",
                $0.quiet.p99.formatted(2), $0.milliseconds.p99.formatted(2), $0.quiet.maximum.formatted(1),
                $0.milliseconds.maximum.formatted(1),
            ]
        }
        return Report.align(
            [["store", "callers", "pairs/s", "client µs", "server µs", "median ms", "p99 ms", "longest ms"]] + pairs)
            + "\n\nbeside a purge:\n"
            + Report.align(
                [
                    [
                        "store", "callers", "purged", "rows/s", "pairs/s", "p99 before", "p99 ms", "longest before",
                        "longest ms",
                    ]
                ] + beside)
    }
}
