// Numbers of things, as one says them.

/// `1 command`, `2 commands`.
func counted(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
