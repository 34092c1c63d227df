// How the costs of a command and of a purge go with what is stored.

struct GrowthReport: Codable, Sendable {
    var machine = Machine()
    var points: [GrowthPoint] = []

    /// Two pictures side by side: processor time per command, time per purged row.
    var svg: String {
        let body =
            curves("µs of processor time per command", x: 60, \.processorMicroseconds)
            + curves("µs per purged row", x: 440, \.purgeMicroseconds)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="780" height="300" viewBox="0 0 780 300" \
            font-family="sans-serif" font-size="12">
            <rect width="100%" height="100%" fill="white"/>
            <text x="60" y="24" fill="#666">\(machine.summary)</text>
            \(body)</svg>

            """
    }

    private func curves(_ title: String, x left: Int, _ value: KeyPath<GrowthPoint, Double>) -> String {
        let (width, height, bottom) = (300.0, 180.0, 260.0)
        let most = max((points.map { $0[keyPath: value] }.max() ?? 1) * 1.2, 1e-9)
        let rows = Double(max(points.map(\.rows).max() ?? 1, 1))
        var svg = "<text x='\(left)' y='56' font-weight='bold'>\(title)</text>\n"
        svg += "<path d='M\(left) 80 V\(bottom) H\(Double(left) + width)' stroke='#999' fill='none'/>\n"
        svg += "<text x='\(left - 4)' y='\(bottom)' text-anchor='end'>0</text>\n"
        svg += "<text x='\(left - 4)' y='88' text-anchor='end'>\(most.formatted(0))</text>\n"
        svg += "<text x='\(Double(left) + width)' y='\(bottom + 18)' text-anchor='end'>\(Int(rows)) rows</text>\n"
        for (kind, colour) in [(StoreKind.sqlite, "#3b6ea5"), (.postgres, "#a5563b")] {
            for ids in RequestIDKind.allCases {
                let own = points.filter { $0.store == kind && $0.ids == ids }
                guard let last = own.last else { continue }
                let places = own.map { point in
                    (
                        x: Double(left) + Double(point.rows) / rows * width,
                        y: bottom - point[keyPath: value] / most * height
                    )
                }
                let line = places.map { "\($0.x.formatted(1)),\($0.y.formatted(1))" }.joined(separator: " ")
                let dashes = ids == .time ? " stroke-dasharray='5 3'" : ""
                svg += "<polyline points='\(line)' stroke='\(colour)' stroke-width='2' fill='none'\(dashes)/>\n"
                for place in places {
                    let (x, y) = (place.x.formatted(1), place.y.formatted(1))
                    svg += "<circle cx='\(x)' cy='\(y)' r='3' fill='\(colour)'/>\n"
                }
                let y = bottom - last[keyPath: value] / most * height - 8
                svg += "<text x='\(Double(left) + width)' y='\(y.formatted(0))' fill='\(colour)' text-anchor='end'>"
                svg += "\(kind.rawValue), \(ids.rawValue)</text>\n"
            }
        }
        return svg
    }
}
