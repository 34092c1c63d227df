// What a benchmark found: as JSON, and as a table for people.

import Foundation

/// The machine and the moment, without which figures mean little.
struct Machine: Codable, Sendable {
    var processor: String
    var cores: Int
    var memoryMiB: Int
    var system: String
    /// Processes that wanted to run when the benchmark began: on a busy machine only ratios within one run say anything.
    var loadAtStart: Double

    init() {
        func file(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
        let model = file("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        processor = model?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
        cores = ProcessInfo.processInfo.activeProcessorCount
        memoryMiB = Int(ProcessInfo.processInfo.physicalMemory >> 20)
        let name = file("/etc/os-release").split(separator: "\n").first { $0.hasPrefix("PRETTY_NAME=") }
        system =
            name?.split(separator: "\"").last.map(String.init) ?? ProcessInfo.processInfo.operatingSystemVersionString
        loadAtStart = Double(file("/proc/loadavg").split(separator: " ").first ?? "") ?? 0
    }

    var summary: String {
        "\(cores) × \(processor), \(memoryMiB / 1024) GiB, \(system); load at start \(loadAtStart.formatted(1))"
    }
}

/// One line of the table.
struct Measurement: Codable, Sendable {
    var contestant: String
    var store: StoreKind?
    var queue: QueueKind
    var delayMilliseconds: Int
    var workers: Int
    var throughput: Throughput
    var latency: Latency?
    var audits: [Audit]

    init(_ scenario: Scenario, _ throughput: Throughput, _ latency: Latency?, _ audits: [Audit]) {
        contestant = scenario.contestant.name
        store = scenario.contestant.store
        queue = scenario.queue
        delayMilliseconds = scenario.delayMilliseconds
        workers = scenario.workers
        self.throughput = throughput
        self.latency = latency
        self.audits = audits
    }
}

/// All of a run.
struct Report: Codable, Sendable {
    var machine = Machine()
    var concurrency: Int
    var measurements: [Measurement] = []

    var isClean: Bool { measurements.allSatisfy { $0.audits.allSatisfy(\.isClean) } }

    func json() throws -> Data {
        try JSONEncoder.readable.encode(self)
    }

    /// Costs are microseconds of processor time a command, times milliseconds; the ratio is to Go's worker in the same
    /// group, or to the C reference where no Go ran.
    var table: String {
        var rows = [
            [
                "contestant", "queue", "delay", "workers", "per second", "user", "system", "CPU µs", "ratio", "broker",
                "store", "peak MB", "first ms", "median", "p99", "upstream", "confirm", "added", "added p99",
            ]
        ]
        for measurement in measurements {
            let throughput = measurement.throughput
            var row = [
                measurement.contestant, measurement.queue.rawValue, "\(measurement.delayMilliseconds) ms",
                "\(measurement.workers)", "\(Int(throughput.rate))", throughput.worker.user.formatted(1),
                throughput.worker.system.formatted(1), throughput.worker.total.formatted(1), ratio(measurement),
                throughput.broker.total.formatted(0), throughput.store.total.formatted(0),
                (Double(throughput.peakMemory) / 1024).formatted(1), throughput.startMilliseconds.formatted(0),
            ]
            if let latency = measurement.latency {
                row += [
                    latency.total.median, latency.total.p99, latency.upstream.median, latency.confirm.median,
                    latency.added.median, latency.added.p99,
                ].map { $0.formatted(2) }
            }
            rows.append(row)
        }
        return Self.align(rows)
    }

    private func ratio(_ measurement: Measurement) -> String {
        let group = measurements.filter {
            $0.queue == measurement.queue && $0.delayMilliseconds == measurement.delayMilliseconds
                && $0.workers == measurement.workers
        }
        let base =
            group.first { $0.contestant == Contestant.go.name }
            ?? group.first { $0.contestant == Contestant.reference.name }
        guard let base else { return "" }
        return (measurement.throughput.worker.total / base.throughput.worker.total).formatted(2)
    }

    /// The first two columns to the left, figures to the right.
    static func align(_ rows: [[String]]) -> String {
        let widths = (0..<(rows.first?.count ?? 0)).map { column in
            rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            row.enumerated().map { column, text in
                let pad = String(repeating: " ", count: widths[column] - text.count)
                return column < 2 ? text + pad : pad + text
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }
}
