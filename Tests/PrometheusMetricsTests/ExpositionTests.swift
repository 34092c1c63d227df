// The text that Prometheus reads, and what the registry keeps.

import CoreMetrics
import PrometheusMetrics
import Testing

@Suite struct ExpositionTests {
    private static let families = [
        MetricFamily("commands_total", .counter, labels: ["org", "outcome"], "Commands by outcome."),
        MetricFamily("call_seconds", .histogram(buckets: [0.005, 0.1, 1]), labels: ["org"], "Time of calls."),
        MetricFamily("batch_operations", .histogram(buckets: [1, 8]), "Operations of one batch."),
        MetricFamily("in_flight", .gauge, "Deliveries\nthat hold a slot, \"now\" \\ later."),
        MetricFamily("cpu_seconds_total", .counter, "Time on processors."),
        MetricFamily("never_made", .gauge, "Nobody makes it."),
    ]

    private let registry = PrometheusRegistry(families)

    @Test func goldenText() {
        let acme = Counter(
            label: "commands_total", dimensions: [("org", "acme"), ("outcome", "succeeded")], factory: registry)
        acme.increment(by: 3)
        acme.increment()
        Counter(label: "commands_total", dimensions: [("org", "acme"), ("outcome", "expired")], factory: registry)
            .increment()
        let call = CoreMetrics.Timer(label: "call_seconds", dimensions: [("org", "acme")], factory: registry)
        for milliseconds in [5, 6, 100, 2000] as [Int64] { call.recordNanoseconds(milliseconds * 1_000_000) }
        let batch = Recorder(label: "batch_operations", factory: registry)
        for size in [1, 2, 64] { batch.record(size) }
        Meter(label: "in_flight", factory: registry).set(-2.5)
        FloatingPointCounter(label: "cpu_seconds_total", factory: registry).increment(by: 0.25)
        #expect(
            registry.exposition() == #"""
                # HELP batch_operations Operations of one batch.
                # TYPE batch_operations histogram
                batch_operations_bucket{le="1"} 1
                batch_operations_bucket{le="8"} 2
                batch_operations_bucket{le="+Inf"} 3
                batch_operations_sum 67
                batch_operations_count 3
                # HELP call_seconds Time of calls.
                # TYPE call_seconds histogram
                call_seconds_bucket{org="acme",le="0.005"} 1
                call_seconds_bucket{org="acme",le="0.1"} 3
                call_seconds_bucket{org="acme",le="1"} 3
                call_seconds_bucket{org="acme",le="+Inf"} 4
                call_seconds_sum{org="acme"} 2.111
                call_seconds_count{org="acme"} 4
                # HELP commands_total Commands by outcome.
                # TYPE commands_total counter
                commands_total{org="acme",outcome="expired"} 1
                commands_total{org="acme",outcome="succeeded"} 4
                # HELP cpu_seconds_total Time on processors.
                # TYPE cpu_seconds_total counter
                cpu_seconds_total 0.25
                # HELP in_flight Deliveries\nthat hold a slot, "now" \\ later.
                # TYPE in_flight gauge
                in_flight -2.5

                """#)
    }

    @Test(arguments: [
        ("plain", "plain"), ("a\"b", #"a\"b"#), ("a\\b", #"a\\b"#), ("a\nb", #"a\nb"#), ("Zürich ✓", "Zürich ✓"),
        ("", ""), ("\\n", #"\\n"#),
    ])
    func labelsAreEscaped(value: String, shown: String) {
        Counter(label: "commands_total", dimensions: [("org", value), ("outcome", "x")], factory: registry).increment()
        #expect(registry.exposition().contains("commands_total{org=\"\(shown)\",outcome=\"x\"} 1\n"))
    }

    @Test(arguments: [
        (Double.infinity, "+Inf"), (-.infinity, "-Inf"), (.nan, "NaN"), (0, "0"), (1e14, "100000000000000"),
        (1e-7, "1e-07"), (1e300, "1e+300"), (0.1, "0.1"), (-3, "-3"),
    ])
    func numbersAreReadable(value: Double, shown: String) {
        Meter(label: "in_flight", factory: registry).set(value)
        #expect(registry.exposition().hasSuffix("in_flight \(shown)\n"))
    }

    @Test func theSameMetricIsOneSeries() {
        for _ in 0..<3 { Recorder(label: "batch_operations", factory: registry).record(1) }
        #expect(registry.exposition().contains("batch_operations_count 3\n"))
    }

    @Test func destroyedSeriesAreGone() {
        let gauge = Meter(label: "in_flight", factory: registry)
        let counter = Counter(
            label: "commands_total", dimensions: [("org", "a"), ("outcome", "b")], factory: registry)
        gauge.destroy()
        counter.destroy()
        #expect(registry.exposition().isEmpty)
    }

    @Test func aLabelThatGrowsWithoutEndIsBounded() {
        let registry = PrometheusRegistry(Self.families, seriesLimit: 2)
        for org in 0..<10 {
            Counter(
                label: "commands_total", dimensions: [("org", "\(org)"), ("outcome", "x")], factory: registry
            ).increment()
        }
        let lines = registry.exposition().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            lines == [
                #"commands_total{org="(other)",outcome="(other)"} 8"#, #"commands_total{org="0",outcome="x"} 1"#,
                #"commands_total{org="1",outcome="x"} 1"#,
            ])
    }

    @Test func nothingIsLostBetweenThreads() async {
        let call = CoreMetrics.Timer(label: "call_seconds", dimensions: [("org", "acme")], factory: registry)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask { for _ in 0..<2000 { call.recordNanoseconds(500_000_000) } }
            }
        }
        #expect(registry.exposition().contains("call_seconds_sum{org=\"acme\"} 4000\n"))
        #expect(registry.exposition().contains("call_seconds_count{org=\"acme\"} 8000\n"))
    }
}
