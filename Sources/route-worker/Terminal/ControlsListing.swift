// What holds, for people. Pure.

import DeadLetters
import FleetControls
import RoutingContract

/// The controls as a table.
struct ControlsListing {
    let state: ControlState
    let names: OrgNames

    var text: String {
        var table = Table(["org", "holds", "since", "by", "why"])
        func add(_ entry: ControlEntry, _ name: String) {
            if let paused = entry.paused { add(paused.value ? "paused" : "not paused with all", paused.note, name) }
            if let mode = entry.mode {
                add(mode.value.name + (mode.value.target.map { " to \($0)" } ?? ""), mode.note, name)
            }
        }
        func add(_ holds: String, _ note: ControlNote, _ name: String) {
            table.add([name, holds, note.since.rfc3339, note.by, note.reason ?? "–"])
        }
        add(state.all, "all")
        let orgs = state.orgs.map { (name: names.shown($0.key.description), entry: $0.value) }
        for org in orgs.sorted(by: { $0.name < $1.name }) { add(org.entry, org.name) }
        guard table.isEmpty else { return table.rendered() }
        let last = state.changed.map { note in
            "; last changed \(note.since.rfc3339) by \(note.by)" + (note.reason.map { " (\($0))" } ?? "")
        }
        return "all orgs are live\(last ?? "")".oneLine
    }
}
