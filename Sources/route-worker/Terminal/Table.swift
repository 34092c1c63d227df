// Tables in plain text.

import WorkerLog

/// Columns under headings, each as wide as its widest cell, up to a bound.
struct Table {
    private let headings: [String]
    private let rightAligned: Set<Int>
    private let maximumWidth: Int
    private var rows: [[String]] = []

    init(_ headings: [String], rightAligned: Set<Int> = [], maximumWidth: Int = 60) {
        self.headings = headings
        self.rightAligned = rightAligned
        self.maximumWidth = maximumWidth
    }

    var isEmpty: Bool { rows.isEmpty }

    mutating func add(_ cells: [String]) {
        precondition(cells.count == headings.count, "a row has a cell for each heading")
        rows.append(cells.map(cut))
    }

    func rendered() -> String {
        let widths = headings.indices.map { column in
            ([headings] + rows).map { $0[column].count }.max() ?? 0
        }
        var lines = [line(headings, widths), widths.map { String(repeating: "─", count: $0) }.joined(separator: "  ")]
        lines += rows.map { line($0, widths) }
        return lines.joined(separator: "\n")
    }

    private func line(_ cells: [String], _ widths: [Int]) -> String {
        var text = ""
        for (column, cell) in cells.enumerated() {
            let padding = String(repeating: " ", count: widths[column] - cell.count)
            text += rightAligned.contains(column) ? padding + cell : cell + padding
            if column < cells.count - 1 { text += "  " }
        }
        while text.last == " " { text.removeLast() }
        return text
    }

    /// What others wrote may hold line breaks and control characters, which would break the table or the terminal.
    private func cut(_ cell: String) -> String {
        let clean = cell.oneLine
        return clean.count > maximumWidth ? clean.prefix(maximumWidth - 1) + "…" : clean
    }
}
