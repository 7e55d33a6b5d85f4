#!/usr/bin/perl
# Holds docs/claims.md and docs/limits.md to their tests: the last column of each row names at least one case that forges the
# claim, or goes to the limit. What is named must be there, anywhere on the page:
#   `presence/proof.c`: "no digest", "another content"   words of a title, or of a row of a table, in that program of tests/
#   `plant/digest.patch`                                  a defect that tests/checks/plant.t plants
# Whether a case forges anything is for people to see; the words must stand in a text of the program, not in a comment.
use strict;
use warnings;
use FindBin;
chdir "$FindBin::Bin/../.." or die;

my ($n, $bad) = (0, 0);
sub ok { my ($good, $what, @why) = @_; $n++; $bad++ if !$good;
    print "# $_\n" for @why; print $good ? "ok" : "not ok", " $n - $what\n"; }

sub slurp { my ($path) = @_; open my $f, '<', $path or return; local $/; return scalar <$f>; }

# The texts of a program: strings of C, which go on in the next line, and of the scripts, without what is escaped.
my %texts;
sub texts {
    my ($path) = @_;
    return $texts{$path} if exists $texts{$path};
    my $source = slurp($path) // '';
    my @found;
    $source =~ s{^\s*(?://|/\*|\*|\#(?!!)).*$}{}mg;
    $source =~ s/"\s*\n\s*"//g if $path =~ /\.c$/;
    push @found, $1 while $source =~ /"((?:[^"\\\n]|\\.)*)"/g;
    push @found, $1 while $path =~ /\.t$/ && $source =~ /\btest\('((?:[^'\\\n]|\\.)*)'/g;
    s/\\(.)/$1/g for @found;
    return $texts{$path} = \@found;
}

# Programs with the cases that are named of each, and patches.
my $file = qr/`((?:\w+\/)+[\w-]+\.(?:c|t|patch))`/;
sub named {
    my ($text) = @_;
    my (@cases, @patches);
    $text =~ s/\s+/ /g;
    while ($text =~ /$file(?:: ((?:"[^"]+"(?:, (?="))?)+))?/g) {
        my ($path, $list) = ($1, $2 // '');
        my @words = $list =~ /"([^"]+)"/g;
        next if $path =~ /^(?:src|tests)\//; # elsewhere in the tree, or a program as a whole
        push @patches, $path if $path =~ /\.patch$/;
        push @cases, [$path, @words] if $path !~ /\.patch$/;
    }
    return (\@cases, \@patches);
}

# What is wrong with what a text names.
sub wrong {
    my ($text) = @_;
    my ($cases, $patches) = named($text);
    my @why;
    for my $case (@$cases) {
        my ($path, @words) = @$case;
        if (!-e "tests/$path") { push @why, "there is no tests/$path"; next; }
        push @why, "of tests/$path no case is named" if !@words;
        for my $w (@words) {
            push @why, "tests/$path has no case \"$w\"" if !grep { index($_, $w) >= 0 } @{texts("tests/$path")};
        }
    }
    push @why, map { "there is no tests/$_" } grep { !-e "tests/$_" } @$patches;
    return @why;
}

sub wrong_row {
    my ($last) = @_;
    my ($cases) = named($last);
    my @why = wrong($last);
    unshift @why, 'names no test program' if !@$cases;
    return @why;
}

# A check that never failed is unproven.
my @broken = ('', 'simulation, `plant/word.patch`', '`presence/proof.c`', '`presence/none.c`: "no digest"', '`presence/proof.c`: "no such words"',
    '`presence/proof.c`: "no digest"; `plant/none.patch`', '`presence/proof.c`: "no digest", "Keys are item/0"');
my @unseen = grep { !wrong_row($_) } @broken;
ok(!@unseen && !wrong_row('`presence/proof.c`: "no digest", "a forged report"; `plant/word.patch`'), 'rows that are broken are seen',
    map { "not seen: $_" } @unseen);

for my $of (['docs/claims.md', 'forged in'], ['docs/limits.md', 'tested in']) {
    my ($path, $column) = @$of;
    my ($page, $section, $rows, @prose) = (slurp($path) // '', '', 0);
    for my $line (split /\n/, $page) {
        $section = $1 if $line =~ /^## (.*)/;
        if ($line !~ /^\|/) { push @prose, $line; next; }
        my @cells = map { s/^\s+|\s+$//gr } split /\|/, $line =~ s/^\||\|\s*$//gr, -1;
        next if $line =~ /^\|[-|]+$/ || $cells[-1] eq $column;
        $rows++;
        my @why = @cells == 4 ? wrong_row($cells[-1]) : 'a row has four cells';
        ok(!@why, "$section: $cells[0]", @why);
    }
    my @why = wrong(join "\n", @prose);
    ok(!@why, "what the text between the tables of $path names is there", @why);
    ok($rows > 0, "$path has rows");
}
print "1..$n\n";
exit($bad ? 1 : 0);
