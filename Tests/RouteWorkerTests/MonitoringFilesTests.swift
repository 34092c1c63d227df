// Alert rules, the dashboard and the guide speak of metrics and alerts that there are.

import Foundation
import PrometheusMetrics
import TestSupport
import Testing

@testable import RouteWorker

@Suite struct MonitoringFilesTests {
    private static func text(_ path: String) throws -> String {
        try String(contentsOf: PackageFolder.url.appendingPathComponent("deploy/\(path)"), encoding: .utf8)
    }

    /// Every series that a worker has.
    private static let series: Set<String> = {
        var names: Set<String> = []
        for family in MetricCatalog.all {
            if case .histogram = family.kind {
                names.formUnion(["_bucket", "_sum", "_count"].map { family.name + $0 })
            } else {
                names.insert(family.name)
            }
        }
        return names
    }()

    private static func series(in text: String) -> Set<String> {
        Set(text.matches(of: #/route_worker_[a-z_]+/#).map { String($0.output) })
    }

    @Test(
        "Rules and dashboard name only series that a worker has",
        arguments: [
            "prometheus/rules.yaml", "prometheus/rules-test.yaml", "grafana/route-worker.json",
        ])
    func names(path: String) throws {
        let named = Self.series(in: try Self.text(path))
        #expect(named.count > 5)
        #expect(named.subtracting(Self.series) == [])
    }

    @Test("The dashboard shows every metric")
    func dashboard() throws {
        let named = Self.series(in: try Self.text("grafana/route-worker.json"))
        for family in MetricCatalog.all {
            #expect(named.contains { $0.hasPrefix(family.name) }, "\(family.name)")
        }
    }

    @Test("The guide says of every alert what to do, and of no other")
    func alerts() throws {
        let rules = Set(
            try Self.text("prometheus/rules.yaml").matches(of: #/alert: (\w+)/#).map { String($0.output.1) })
        let guide = Set(
            try Self.text("OPERATING.md").matches(of: #/(?m)^\| `(RouteWorker\w+)` \|/#).map { String($0.output.1) })
        #expect(rules.count > 5 && rules == guide)
    }
}
